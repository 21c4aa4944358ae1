"""RNAS-CL on 100 classes of ImageNet (224×224), streamed from disk.

Needs `imagenet2012` prepared by TFDS as array_record and a robust teacher directory (--config.teacher.path=DIR;
published ones: ResNet-18, ResNet-50, WRN-50-2 for L2 ε = 1). A teacher may have 100 or 1000 classes.

Variant:
  smoke     every stage on few images of 64×64 pixels, within three minutes on two CPU cores: does all work here?

Cost: 126,689 images an epoch (fewer the held-out ones), 0.5 GMACs an image for the largest network, times about
3 for each attack step, beside the teacher's 4.1 GMACs (ResNet-50). Meant for a host with several accelerators.
Expect (published, qualitative): high clean accuracy, weak PGD-20 accuracy without adversarial training, a large
gain with it.
"""

from rnas.config import with_variants
from rnas.config.defaults import rnas_cl

# The hundred classes of the experiments of RNAS-CL (arXiv 2301.08092), 0-based among the 1,000.
# fmt: off
IMAGENET_100 = (
    15, 45, 54, 57, 64, 74, 90, 99, 119, 120, 122, 131, 137, 151, 155, 157, 158, 166, 167, 169, 176, 180,
    209, 211, 222, 228, 234, 236, 242, 246, 267, 268, 272, 275, 277, 281, 299, 305, 313, 317, 331, 342,
    368, 374, 407, 421, 431, 449, 452, 455, 479, 494, 498, 503, 508, 544, 560, 570, 592, 593, 599, 606,
    608, 619, 620, 653, 659, 662, 665, 667, 674, 682, 703, 708, 717, 724, 748, 758, 765, 766, 772, 775,
    796, 798, 830, 854, 857, 858, 872, 876, 882, 904, 908, 936, 938, 953, 959, 960, 993, 994,
)
# fmt: on


VARIANTS = {"smoke": {**rnas_cl.SMOKE, "data.image_shape": (64, 64, 3)}}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    data = config.data
    data.name = "imagenet2012"
    data.image_shape = (224, 224, 3)
    data.num_classes = 100
    data.class_ids = IMAGENET_100
    data.streaming = True
    data.mean = (0.485, 0.456, 0.406)
    data.std = (0.229, 0.224, 0.225)
    data.crop_padding = 0  # the stream crops and mirrors
    data.flip = False

    config.space = "imagenet"
    config.attention.size = 28
    config.adversarial.ard.kl_scale = 1 / 100  # one over the classes
    config.adversarial.epsilon = "4/255"
    config.adversarial.step_size = "1/255"
    config.teacher.architecture = "imagenet_resnet50"
    config.validation.count = 5000
    config.evaluation.epsilons = ("4/255", "2/255", "8/255")
    config.evaluation.curve = ("0", "1/255", "2/255", "3/255", "4/255", "6/255", "8/255")
    return with_variants(config, VARIANTS, argument)

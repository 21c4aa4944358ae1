"""The cells of DSARA on Tiny-ImageNet-200: found on CIFAR-10 and transferred.

Variants: those of `cifar10.py` but `short`. --config.genotype=dsara trains the published cells. The set is no part of
TFDS' catalogue under a fixed name: --config.data.name is the name of yours.

Cost: 90,000 images of 64×64 an epoch, 90 epochs; 5.41 M parameters, 5.82 GMACs an image, 105 in training,
8.5·10¹⁷ MACs: at 10 TFLOP/s (an assumption, see `cifar10.py`) 47 hours.
Expect: no figures of the papers are known to us.
"""

from rnas.config import with_variants, without_keys
from rnas.config.defaults import dsara

# The channels of training are set below, whatever the space.
VARIANTS = {**without_keys(dsara.VARIANTS, "train.channels"), "smoke": dsara.SMOKE}


def get_config(argument: str = ""):
    config = dsara.get_config()
    config.data.name = "tiny_imagenet"
    config.data.image_shape = (64, 64, 3)
    config.data.num_classes = 200
    config.data.held_out = 10000
    config.adversarial.ard.kl_scale = 1 / 200  # one over the classes
    train = config.train
    train.channels = 84
    train.cells = 14
    train.epochs = 90
    train.batch_size = 26
    train.auxiliary = 0.4
    train.optimizer.milestones = (30, 60)
    config.validation.first_epoch = 29
    return with_variants(config, VARIANTS, argument)

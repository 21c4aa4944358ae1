"""RNAS-CL on images of your own: the recipe fits itself to the set that `rnas data import` has made.

  rnas data import PHOTOS --output=data/photos
  rnas describe --config=configs/own_data.py --config.data.dir=data/photos       what it would cost here
  rnas run --config=configs/own_data.py --config.data.dir=data/photos --workdir=runs/photos

A robust teacher is trained first; the search and the student's training learn from it, under attack, by the joint
objective. What depends on the set:
  data       name, image shape, classes, mean and standard deviation are the set's
  space      by the longer side of the images: `tiny` below 24 pixels, `s3` below 96, `imagenet` from there on
  budget     multiply-accumulates that the student may have: what is about the middle of the space at that size
  teacher    a WideResNet-10-2, for 10,000 images of 24 to 47 pixels and more a WideResNet-16-4, from 96 pixels on a
             ResNet-18 of ImageNet
  epochs     as many as show a stage about a million images, from 20 to 100
  batches    a tenth of the training images, at most 128
  held out   a tenth of the training images, as many of every class, as far as the rarest class goes
  mirrored   images in colour; --config.data.flip decides otherwise

Another budget is --config.budget.target=4e6. Where the space has no network of that size, the message names its
smallest and its largest, and another space may have one.

Variants, joined by commas:
  tiny, s1, s3, s5, s7, m, l, imagenet   another space, with its own budget; imagenet from 32 pixels on
  smoke   every stage on few images, within three minutes on two CPU cores: does all work here?

Cost: `rnas describe`, and the first lines of `rnas run`, have it for your images and your machine.
Expect: nobody has measured your images. Radius and step of the attack are those of CIFAR-10, 8/255 and 2/255.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import rnas_cl

# Space: multiply-accumulates a pixel of the image, about the middle of what its networks have.
BUDGETS = {"tiny": 11_500, "s1": 2_000, "s3": 6_200, "s5": 10_500, "s7": 14_500, "m": 290_000, "l": 1_170_000}
BUDGETS["imagenet"] = 6_500
SEEN = {"teacher": 600_000, "search": 500_000, "train": 1_000_000}  # images that a stage sees, most more than once


def get_config(argument: str = "", *, image_set):
    config = rnas_cl.get_config()
    height, width, channels = image_set.image_shape
    side, classes, rarest = max(height, width), len(image_set.class_names), min(image_set.counts["train"])

    data = config.data
    data.name = image_set.name
    data.image_shape, data.num_classes = image_set.image_shape, classes
    data.mean, data.std = image_set.mean, image_set.std
    data.held_out = classes * max(1, min(image_set.train_count // (10 * classes), rarest // 4, 5000 // classes))
    data.crop_padding, data.flip = side // 8, channels == 3
    images = image_set.train_count - data.held_out

    config.attention.size = min(14, side)
    config.budget.mode = "hard"
    config.teacher.architecture = "wide_resnet_16_4" if 24 <= side < 48 and images >= 10_000 else "wide_resnet_10_2"
    if side >= 96:
        config.teacher.architecture = "imagenet_resnet18"
    config.teacher.optimizer.learning_rate = 0.05
    config.teacher.optimizer.final_factor = 0.0
    for stage, seen in SEEN.items():
        config[stage].epochs = max(20, min(seen // images, 100))
        config[stage].batch_size = max(size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size <= max(images // 10, 1))
    config.bn_momentum = 0.9 if images < 5000 else 0.97  # few steps an epoch
    config.tau.decay = 4.5 / config.search.epochs  # as cold at the end as the recipe of CIFAR-10
    config.evaluation.attacks = choices.ATTACKS
    config.evaluation.auto_attack = ("student", "strongest_baseline", "teacher")

    spaces = {
        name: {"space": name, "budget.target": float(a_pixel * height * width)} for name, a_pixel in BUDGETS.items()
    }
    own = "tiny" if side < 24 else "s3" if side < 96 else "imagenet"
    with_variants(config, spaces, own)
    return with_variants(config, {**spaces, "smoke": _smoke(image_set, config.train.batch_size)}, argument)


def _smoke(image_set, batch_size: int) -> dict:
    """The smoke test with no more images than there are, and with fewer and smaller networks where they are large."""
    height, width, _ = image_set.image_shape
    side, classes, rarest = max(height, width), len(image_set.class_names), min(image_set.counts["train"])
    share = min(1.0, 32**2 / (height * width))
    held_out = classes * min(rarest // 2, max(1, round(100 * share) // classes))
    left, wanted = rarest - held_out // classes, max(64, round(320 * share))
    return {
        **rnas_cl.SMOKE,
        "space": "tiny" if side < 24 else "s1",
        "teacher.architecture": "wide_resnet_10_1" if side < 96 else "imagenet_resnet18_w16",
        "data.held_out": held_out,
        "data.train_count": wanted if wanted <= classes * (left - 1) else 0,
        **{f"{stage}.batch_size": min(32, batch_size) for stage in SEEN},
        "evaluation.count": max(4, round(20 * share)),
        "evaluation.auto_attack_count": max(2, round(5 * share)),
        "evaluation.curve": ("0", "4/255", "8/255"),
    }

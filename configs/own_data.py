"""RNAS-CL on images of your own: the recipe fits itself to the set that `rnas data import` has made.

  rnas data import PHOTOS --output=data/photos
  rnas describe --config=configs/own_data.py --config.data.dir=data/photos       what it would cost here
  rnas run --config=configs/own_data.py --config.data.dir=data/photos --workdir=runs/photos

A robust teacher is trained first; the search and the student's training learn from it, under attack, by the joint
objective. What depends on the set:
  data          name, image shape, classes, mean and standard deviation are the set's
  space         by the size of the images: `tiny` below 24 pixels, `s3` below 96, `imagenet` from there on
  teacher       a WideResNet-10-2, for images of 24 to 47 pixels a WideResNet-16-4, from 96 on a ResNet-18 of ImageNet
  epochs        as many as show a stage about a million images, from 20 to 100
  batches       a tenth of the training images, at most 128
  held out      a tenth of the training images, as many of every class, as far as the rarest class goes
  mirrored      images in colour; --config.data.flip decides otherwise

A limit of multiply-accumulates is --config.budget.mode=hard --config.budget.target=2e6. Where the space has no network
of that size, the message names its smallest and its largest, and another space may have one.

Variants, joined by commas:
  tiny, s1, s3, s5, s7, m, l, imagenet   another space; the names are in the order of their size
  smoke     every stage on few images, within three minutes on two CPU cores: does all work here?

Cost: `rnas describe`, and the first lines of `rnas run`, have it for your images and your machine.
Expect: nobody has measured your images. Radius and step of the attack are those of CIFAR-10, 8/255 and 2/255.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import rnas_cl

BY_SIZE = (  # pixels of the longer side below which a space and a teacher are taken
    (24, "tiny", "wide_resnet_10_2"),
    (48, "s3", "wide_resnet_16_4"),
    (96, "s3", "wide_resnet_10_2"),
    (2**14 + 1, "imagenet", "imagenet_resnet18"),
)
SPACES = {name: {"space": name} for name in ("tiny", "s1", "s3", "s5", "s7", "m", "l", "imagenet")}
SEEN = {"teacher": 600_000, "search": 500_000, "train": 1_000_000}  # images that a stage sees, some more than once


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

    config.space, config.teacher.architecture = next(names for limit, *names in BY_SIZE if side < limit)
    config.attention.size = min(14, side)
    for stage, seen in SEEN.items():
        config[stage].epochs = max(20, min(seen // images, 100))
        config[stage].batch_size = max(size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size <= max(images // 10, 1))
    config.bn_momentum = 0.9 if images < 5000 else 0.97  # few steps an epoch
    config.tau.decay = 4.5 / config.search.epochs  # as cold at the end as the recipe of CIFAR-10
    config.teacher.optimizer.learning_rate = 0.05
    config.teacher.optimizer.final_factor = 0.0
    config.evaluation.attacks = choices.ATTACKS
    config.evaluation.auto_attack = ("student", "strongest_baseline", "teacher")
    return with_variants(config, {**SPACES, "smoke": _smoke(image_set, config.train.batch_size)}, argument)


def _smoke(image_set, batch_size: int) -> dict:
    """The smoke test with no more images than there are, and fewer where they are large."""
    height, width, _ = image_set.image_shape
    classes, rarest = len(image_set.class_names), min(image_set.counts["train"])
    share = min(1.0, 32**2 / (height * width))
    held_out = classes * min(rarest // 2, max(1, round(100 * share) // classes))
    left, wanted = rarest - held_out // classes, max(64, round(320 * share))
    return {
        **rnas_cl.SMOKE,
        "data.held_out": held_out,
        "data.train_count": wanted if wanted <= classes * (left - 1) else 0,
        **{f"{stage}.batch_size": min(32, batch_size) for stage in SEEN},
        "evaluation.count": max(10, round(40 * share)),
    }

"""The cells of DSARA on SVHN: found on CIFAR-10 and transferred, or searched here.

Variants: those of `cifar10.py` but `short`. --config.genotype=dsara trains the published cells.

Cost: 73,257 training images less those held out, 1.5 times an epoch of CIFAR-10; 4.52 M parameters, 1.24 GMACs an
image. At 10 TFLOP/s (an assumption, see `cifar10.py`) 2 hours of search and 17 of training.
Expect: no figures of the papers are known to us. The papers' repository has no training script for this set; the
learning rate starts at 0.01 (our choice: 0.1 is known to fail there under attack), and digits are not mirrored.
"""

from rnas.config import with_variants
from rnas.config.defaults import dsara


def get_config(argument: str = ""):
    config = dsara.get_config()
    config.data.name = "svhn_cropped"
    config.data.flip = False
    config.train.optimizer.learning_rate = 0.01
    config.train.optimizer.milestones = (100, 150)
    return with_variants(config, dsara.VARIANTS, argument)

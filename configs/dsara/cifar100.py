"""The cells of DSARA on CIFAR-100: found on CIFAR-10 and transferred, or searched here.

Variants: those of `cifar10.py` but `short`. The papers transfer: --config.genotype=dsara trains the published cells,
--config.genotype=RUN/architecture.json those of a run.

Cost: as on CIFAR-10, but for the classifier; 4.57 M parameters, 1.24 GMACs an image. At 10 TFLOP/s (an assumption, see
there) 1.3 hours of search and 11 of training.
Expect: no figures of the papers are known to us. The papers' repository has no training script for this set; the recipe
is that of CIFAR-10.
"""

from rnas.config import with_variants
from rnas.config.defaults import dsara


def get_config(argument: str = ""):
    config = dsara.get_config()
    config.data.name = "cifar100"
    config.data.num_classes = 100
    config.adversarial.ard.kl_scale = 1 / 100  # one over the classes
    return with_variants(config, dsara.VARIANTS, argument)

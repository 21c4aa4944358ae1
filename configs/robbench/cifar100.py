"""The table of NAS-RobBench-201 on CIFAR-100; otherwise as `cifar10.py`, with its variants.

Cost: as on CIFAR-10, but for the classifier.
Expect, of the published table (mean of three seeds; clean, PGD-20 at 8/255, AutoAttack): best .505 .247 .209, median
.392 .203 .166.
"""

from rnas.config import with_variants
from rnas.config.defaults import robbench


def get_config(argument: str = ""):
    config = robbench.get_config()
    config.data.name = "cifar100"
    config.data.mean = (0.5071, 0.4867, 0.4408)
    config.data.std = (0.2675, 0.2565, 0.2761)
    return with_variants(config, robbench.VARIANTS, argument)

"""The table of NAS-RobBench-201 on CIFAR-10, made anew: every class of cells, three seeds, adversarially trained.

  rnas tabular train --config=configs/robbench/cifar10.py --shard=0/64 --workdir=DIR

trains every 64th network; a few cells of one's own by --config.archs="('9930','333123')".

Variants:
  one_shot  a supernet, trained one uniformly drawn cell in each step, scores all classes with its weights
  smoke     two cells on few images, without AutoAttack: does all work here?

Cost: 19,398 networks. One of 333133 takes 50 epochs of 50,000 images, 8 passes forward and back each, at 0.18 GMACs
an image: 11 PMACs; the mean cell a fifth of it.
Expect, of the published table (mean of three seeds; clean, PGD-20 at 8/255, AutoAttack): 333133 .796 .478 .444,
323133 .794 .481 .443; median over the classes .706 .428 .387.
"""

from rnas.config import with_variants
from rnas.config.defaults import robbench


def get_config(argument: str = ""):
    return with_variants(robbench.get_config(), robbench.VARIANTS, argument)

"""A table of six cells on 8×8 handwritten digits, two seeds each: the whole way from training to `rnas tabular query`.

Cells of one instead of five a stage and eight instead of 16 channels; otherwise the network of the published table.

Variants:
  one_shot  a supernet instead, which scores the same cells with its weights
  smoke     two cells on few images, without AutoAttack: does all work here?

Cost: three minutes of one CPU core. Expect, mean of both seeds (clean, PGD-20 at 8/255): 333133 .990 .939, 132013
.994 .971, 444444 .907 .731; 333000, whose output is constant, guesses: .100 .100.
"""

from rnas.config import with_variants
from rnas.config.defaults import robbench

VARIANTS = {
    "one_shot": {**robbench.VARIANTS["one_shot"], "data.held_out": 137, "train.epochs": 24},
    "smoke": robbench.VARIANTS["smoke"],
}


def get_config(argument: str = ""):
    config = robbench.get_config()
    config.archs = ("333133", "222222", "132013", "111111", "444444", "333000")
    config.seeds = (0, 1)
    data = config.data
    data.name = "digits"
    data.crop_padding = 1
    data.flip = False
    data.mean = (0.0,)
    data.std = (1.0,)
    config.train.epochs = 8
    config.train.batch_size = 64
    config.evaluation.batch_size = 120
    config.evaluation.auto_attack_seeds = ()
    config.checkpoint_every_steps = 100
    return with_variants(config, VARIANTS, argument)

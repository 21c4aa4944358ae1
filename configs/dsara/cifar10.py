"""DSARA on CIFAR-10: cells searched under attack in two stages, then trained adversarially.

Variants, joined by commas:
  dsara (default), arnas, sum, darts1, darts2, darts2_adversarial, advrush, advrush_per_image, smooth_rs, smooth_adv,
  random              the search strategy
  darts               the space of DARTS: two cell types, eight operations, widths 1:2:4
  finite_difference   the second-order term as published; first_order leaves it out
  wide                widths 1:2:4
  distil              a robust teacher for the cells: cross-layer distillation and KL, in search and training
  short               what two CPU cores can do: see below
  smoke               every stage on few images, to first order: does all work here?
for example `arnas`, `darts,darts2` or `distil,short`. With --config.genotype=dsara (or darts_v2, pdarts, racl, advrush,
or a JSON file) the search is left out and the published cells are trained.

Cost: a search step attacks two batches of 32 images seven times, 14 passes forward and back to the images, takes about
five for both second-order gradients (training gradient, two Hessian products, two validation losses) and one for
the weights, all in a supernet of 0.461 GMACs an image: 0.7 TMACs a step, 703 steps an epoch, 50 epochs, 2.4·10¹⁶ MACs.
Training takes 7 passes forward and back for the attack, a clean one and one for the weights, 22 GMACs an image with the
published cells, 200 epochs of 45,000 images, 2.0·10¹⁷ MACs. At 10 TFLOP/s, what an H100-class GPU may sustain on small
depthwise convolutions in float32 (an assumption: nobody has timed it), that is 1.3 hours of search and 11 of training.
Expect: no figures of the papers are known to us; see docs/results.md for what was measured here.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import dsara

VARIANTS = {
    **dsara.VARIANTS,
    "short": {
        "data.held_out": 1000,
        "search.channels": 8,
        "search.cells": 5,
        "search.epochs": 1,
        "search.stage1_epochs": 0,
        "train.channels": 8,
        "train.cells": 5,
        "train.batch_size": 64,
        "train.epochs": 4,
        "train.optimizer.milestones": (2, 3),
        "validation.first_epoch": 0,
        "validation.count": 500,
        "evaluation.count": 500,
        "evaluation.attacks": choices.ATTACKS,
        "evaluation.curve": ("0", "2/255", "4/255", "8/255", "12/255", "16/255"),
        "checkpoint_every_steps": 50,
        # The published shares of the epochs, 60, 40 and 10 of 200.
        "adversarial.iad_1.first_epoch": 0,
        "adversarial.iad_2.first_epoch": 0,
        "baseline_perturbation.trades.first_epoch": 0,
    },
}


def get_config(argument: str = ""):
    return with_variants(dsara.get_config(), VARIANTS, argument)

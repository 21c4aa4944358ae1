"""DSARA's search, or RNAS-CL's objective, among the cells of NAS-Bench-201, on 8×8 handwritten digits.

The supernet has on every edge the mixture of all five operations; its cells stand in the network of the digits' table
(`digits.py`), so that what is found can be looked up there:

  rnas search --config=configs/robbench/digits_search.py --workdir=runs/digits_search
  rnas tabular judge --table=digits.json --partial --by=digits/pgd_8 --workdir=runs/digits_search

`rnas run` also trains the cell that was found, beside one drawn at random, and attacks both.

Variants, joined by commas: the strategies of `configs/dsara/cifar10.py`, finite_difference, first_order, and
  distil    a robust teacher for the cells, whose layers are their tutors
  smoke     every stage on few images, to first order: does all work here?

Cost: the search two to three minutes of one CPU core, most of it compilation; the whole of `rnas run` four.
"""

from rnas.config import choices, with_variants, without_keys
from rnas.config.defaults import dsara
from rnas.config.defaults import sections as common

VARIANTS = {
    **without_keys(dsara.STRATEGIES, "search.epochs"),  # sizes are those below
    "smoke": {**dsara.SMOKE, "search.cells": 1, "train.cells": 1},
}


def get_config(argument: str = ""):
    config = dsara.get_config()
    config.space = "nasbench201"
    common.on_digits(config)
    config.teacher.epochs = 8

    search = config.search
    search.channels = 8
    search.cells = 1  # in each of the three stages
    search.epochs = 16
    search.batch_size = 32
    search.stage1_epochs = 6
    search.arch_optimizer.learning_rate = 0.02  # 320 steps in all
    config.tau.decay = 0.3

    train = config.train
    train.channels = 8
    train.cells = 1
    train.epochs = 8
    train.batch_size = 64
    train.step_size = "2/255"
    train.start = "uniform"
    train.bn_update = "adversarial"
    train.clean_pass = False
    train.optimizer.milestones = (4, 6)
    config.baselines = ("random_0",)
    config.validation.every_epochs = 4
    config.validation.first_epoch = 4
    config.validation.steps = 10
    config.evaluation.batch_size = 120
    config.evaluation.attacks = choices.ATTACKS
    config.evaluation.epsilons = ("8/255", "3/255")
    config.evaluation.auto_attack = ()
    config.checkpoint_every_steps = 100
    return with_variants(config, VARIANTS, argument)

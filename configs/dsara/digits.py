"""DSARA on 8×8 handwritten digits: both stages of the search, training, AutoAttack and report, on two CPU cores.

Variants, joined by commas: those of `cifar10.py` but `short`, and
  compare             three random cells of the space, trained like the searched ones
AutoAttack judges the searched cells alone unless --config.evaluation.auto_attack names others.
"""

from rnas.config import choices, with_variants, without_keys
from rnas.config.defaults import dsara
from rnas.config.defaults import sections as common

VARIANTS = {
    **without_keys(dsara.VARIANTS, "search.epochs", "search.channels", "train.channels"),  # sizes are those below
    "compare": {"baselines": ("random_0", "random_1", "random_2")},
    "smoke": dsara.SMOKE,
}


def get_config(argument: str = ""):
    config = dsara.get_config()
    common.on_digits(config)
    # Large for CIFAR, fitting here: at 0.15 a plainly trained network is lost, an adversarially trained one is not.
    config.adversarial.epsilon = "0.15"
    config.adversarial.step_size = "0.06"

    search = config.search
    search.channels = 4
    search.cells = 5
    search.epochs = 16
    search.batch_size = 32
    search.stage1_epochs = 6
    # 320 steps in all, against 35,000 of the published search: its rates would leave loss and choice where they began.
    search.optimizer.learning_rate = 0.1
    search.arch_optimizer.learning_rate = 0.02
    config.tau.decay = 0.3

    train = config.train
    train.channels = 8
    train.cells = 5
    train.batch_size = 64
    train.epochs = 40
    train.step_size = "0.06"
    train.optimizer.milestones = (20, 30)
    config.validation.every_epochs = 4
    config.validation.first_epoch = 20
    config.validation.steps = 10
    config.evaluation.batch_size = 120
    config.evaluation.attacks = f"{choices.ATTACKS}*2"
    config.evaluation.epsilons = ("0.15",)
    config.evaluation.curve = ("0", "0.05", "0.1", "0.15", "0.2", "0.3")
    config.checkpoint_every_steps = 50
    common.scale_first_epochs(config)
    return with_variants(config, VARIANTS, argument)

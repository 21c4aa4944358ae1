"""DSARA on 8×8 handwritten digits: both stages of the search, training, AutoAttack and report, on two CPU cores.

Argument: as in `cifar10.py`, without `short`; and `compare`, which trains three random cells of the space like the
searched ones. AutoAttack judges the searched ones alone unless --config.evaluation.auto_attack names others.
"""

from rnas.config.defaults import dsara
from rnas.config.defaults import sections as common


def get_config(argument: str = ""):
    config = dsara.get_config()
    names = [name for name in argument.split(",") if name]
    dsara.with_variants(config, ",".join(name for name in names if name != "compare"))
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
    config.evaluation.pgd_100_restarts = 2
    config.evaluation.epsilons = ("0.15",)
    config.evaluation.curve = ("0", "0.05", "0.1", "0.15", "0.2", "0.3")
    config.checkpoint_every_steps = 50
    # The same shares of the epochs as published, 60 and 40 of 200.
    config.adversarial.iad_1.first_epoch = 12
    config.adversarial.iad_2.first_epoch = 8
    if "compare" in names:
        config.baselines = ("random_0", "random_1", "random_2")
    return config

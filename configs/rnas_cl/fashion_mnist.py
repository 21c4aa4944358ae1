"""RNAS-CL on Fashion-MNIST (28×28 grey, 60,000 training images) with the S3 space.

Arguments, joined by commas; nothing for the full recipe:
  short     a recipe that fits two CPU cores
  methods   beside the student of the joint objective a baseline for every method, as in `digits.py`, but for trades_awp,
            which begins in epoch 10; fewer are named by --config.baselines="('plain','trades')" together with
            --config.evaluation.auto_attack="('student','baseline_trades')"

Cost: the full recipe is meant for one accelerator. `short` is measured in the README: one epoch of every stage. With
`methods` every attacked baseline adds about as much as the student's training, a second teacher a few minutes, and
AutoAttack with its self-checks twenty minutes of one core a network. The five in README: 2 h 20 min on two busy cores.
Expect: the student of the joint objective far above the plainly trained baseline under attack; after one epoch none
of the networks has converged.
"""

from rnas.config.defaults import rnas_cl
from rnas.runs.recipes import BASELINES


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    data = config.data
    data.name = "fashion_mnist"
    data.image_shape = (28, 28, 1)
    data.mean = (0.286,)
    data.std = (0.353,)
    data.crop_padding = 2

    config.teacher.architecture = "wide_resnet_16_4"
    config.teacher.epochs = 40
    config.teacher.optimizer.learning_rate = 0.05
    config.search.epochs = 40
    config.train.epochs = 80
    config.tau.decay = 0.1  # as cold after 40 epochs as the CIFAR recipe after 89
    for name in filter(None, argument.split(",")):
        if name not in VARIANTS:
            raise ValueError(f"unknown variant {name!r}; expected any of {', '.join(VARIANTS)}.")
        VARIANTS[name](config)
    return config


def _shorten(config):
    config.data.held_out = 1000
    config.adversarial.steps = 3
    config.adversarial.step_size = "4/255"
    config.teacher.architecture = "wide_resnet_10_2"
    config.teacher.steps = 3
    config.teacher.epochs = 1
    config.search.epochs = 1
    config.search.batch_size = 128
    config.bn_momentum = 0.95
    config.train.epochs = 1
    config.train.batch_size = 128
    config.validation.count = 500
    config.evaluation.count = 500
    config.evaluation.pgd_100_restarts = 1
    config.evaluation.curve = ("0", "2/255", "4/255", "8/255", "12/255", "16/255")
    config.checkpoint_every_steps = 100
    # The same shares of the epochs as published, 60 and 40 of 200.
    config.adversarial.iad_1.first_epoch = 0
    config.adversarial.iad_2.first_epoch = 0


def _methods(config):
    config.baselines = tuple(baseline for baseline in BASELINES if baseline not in ("no_distillation", "trades_awp"))
    config.evaluation.auto_attack = ("student", *(f"baseline_{baseline}" for baseline in config.baselines))


VARIANTS = {"short": _shorten, "methods": _methods}

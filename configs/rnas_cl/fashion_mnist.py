"""RNAS-CL on Fashion-MNIST (28×28 grey, 60,000 training images) with the S3 space.

Variants, joined by commas; none is the full recipe:
  short     a recipe that fits two CPU cores
  study     for `rnas study`: at ε = 0.05, with the teacher that comes with rnas, 12,000 training images and no attack
            in training, the paper's own setting; the student has KL and attention, its arms have less, or other tutors;
            seed 0 was the pilot that showed that nothing of them stands 0.1, so the seeds are 1, 2 and 3
  smoke     every stage on few images, within three minutes on two CPU cores: does all work here?
  average   a moving average of the weights in training
  cutmix    images mixed by CutMix, with averaged weights, in training
  few       10,000 training images, for a comparison with `extra`
  extra     the same, and for student and baselines half of each batch from the other training images of the set, which
            stand for generated ones
  methods   a baseline for every method beside the student of the joint objective, as in `digits.py`; trades_awp is
            left out, which begins in epoch 10; fewer are named by --config.baselines="('plain','trades')"

Cost: the full recipe is meant for one accelerator. docs/results.md has measurements of `short`, one epoch of every
stage, and of five methods. With `methods` every attacked baseline adds about as much as the student's training, a
second teacher a few minutes, and AutoAttack with its sanity checks twenty minutes of one core a network.
Expect: the student of the joint objective far above the plainly trained baseline under attack; after one epoch none
of the networks has converged.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import rnas_cl
from rnas.config.defaults import sections as common

BASELINES = tuple(name for name in choices.BASELINES if name not in ("no_distillation", "trades_awp"))
VARIANTS = {
    "study": {
        "teacher.path": "shipped:fashion_mnist",
        "teacher.cache.views": 4,
        "data.held_out": 1000,
        "data.train_count": 12000,
        "adversarial.epsilon": "0.05",
        "adversarial.step_size": "0.0125",
        "adversarial.objective": "none",
        "search.epochs": 10,
        "search.batch_size": 128,
        "tau.decay": 0.4,
        "bn_momentum": 0.95,
        "train.epochs": 20,
        "train.batch_size": 128,
        "baselines": choices.STUDY_ARMS,
        "comparisons": choices.STUDY_COMPARISONS,
        "study.seeds": (1, 2, 3),
        "validation.count": 500,
        # All 10,000 test images, AutoAttack 1,000 of them. The teacher is the same for all seeds: `rnas attack` once.
        "evaluation.attacks": "pgd_100",
        "evaluation.epsilons": ("0.05", "0.1"),
        "evaluation.curve": ("0", "0.025", "0.05", "0.075", "0.1"),
        "evaluation.models": ("student", "baselines"),
        "study.auto_attack": ("student", "baselines"),
        "checkpoint_every_steps": 200,
        "adversarial.iad_1.first_epoch": 0,
        "adversarial.iad_2.first_epoch": 0,
    },
    "short": {
        "data.held_out": 1000,
        "adversarial.steps": 3,
        "adversarial.step_size": "4/255",
        "teacher.architecture": "wide_resnet_10_2",
        "teacher.steps": 3,
        "teacher.epochs": 1,
        "search.epochs": 1,
        "search.batch_size": 128,
        "bn_momentum": 0.95,
        "train.epochs": 1,
        "train.batch_size": 128,
        "validation.count": 500,
        "evaluation.count": 500,
        "evaluation.attacks": choices.ATTACKS,
        "evaluation.curve": ("0", "2/255", "4/255", "8/255", "12/255", "16/255"),
        "checkpoint_every_steps": 100,
        # The published shares of the epochs, 60 and 40 of 200.
        "adversarial.iad_1.first_epoch": 0,
        "adversarial.iad_2.first_epoch": 0,
    },
    "average": {"train.weight_average": 0.995},
    "cutmix": {"train.cutmix": 1.0, "train.weight_average": 0.995, "teacher.cache.views": 0},
    "few": {"data.train_count": 10_000},
    "extra": {
        "data.train_count": 10_000,
        "data.extra": "fashion_mnist",
        "data.extra_share": 0.5,
        "teacher.cache.views": 0,
    },
    "methods": {
        "baselines": BASELINES,
        "evaluation.auto_attack": ("student", "baselines"),
    },
    "smoke": rnas_cl.SMOKE,
}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    common.on_fashion_mnist(config)

    config.teacher.architecture = "wide_resnet_16_4"
    config.teacher.epochs = 40
    config.teacher.optimizer.learning_rate = 0.05
    config.search.epochs = 40
    config.train.epochs = 80
    config.tau.decay = 0.1  # as cold after 40 epochs as the CIFAR recipe after 89
    return with_variants(config, VARIANTS, argument)

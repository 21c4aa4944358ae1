"""RNAS-CL on 8×8 handwritten digits: does a small network inherit robustness from a robust teacher?

A WideResNet teacher is trained adversarially, and the `tiny` space is searched under attack with cross-layer
distillation. The network that is found is trained with the joint objective, and again, as its baselines, without
attack: plainly, with KL or attention or both, with random tutors; and with TRADES alone. `rnas study` does so for five
seeds.

Variants, joined by commas:
  pgd_at, trades, mart, score, ard, rslad, akd2, iad_1, iad_2, mtard   the student trained by this method alone, without
            cross-layer distillation (the search is the same); `none` for plain training
  awp       beside a method: weights perturbed against the loss (γ 0.01 with pgd_at, else 0.005 from epoch 10 on)
  average   the student is a moving average of the weights, decay 0.995
  methods   a baseline for every method beside the student of the joint objective: one architecture, one start, one
            budget; AutoAttack judges the student and each baseline
  smoke     every stage on few images, within three minutes on two CPU cores: does all work here?
  arms      for `rnas study`: every kind of tutors and widths without attack, and the terms of distillation with TRADES

Cost: 7:43 minutes on two quiet CPU cores, installation included. `rnas study`, where AutoAttack judges every arm on all
test images, took eight minutes a seed on two faster ones; `arms` was not run.
Expect, mean of five seeds under AutoAttack at ε = 0.1: 12 % of a plain network, 25 % with KL, 80 % with TRADES, 79 %
with the joint objective; see docs/results.md.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import rnas_cl
from rnas.config.defaults import sections as common

BASELINES = tuple(name for name in choices.BASELINES if name != "no_distillation")


def _perturb_weights(config):
    published = config.baseline_perturbation["pgd_at" if config.train.objective == "pgd_at" else "trades"]
    config.train.perturbation.update(published)


# Without attack in training, the paper's own setting; and the joint objective's method alone.
TABLE = (
    "plain",
    "kl_only+none",
    "attention_only+none",
    "attention_only+none+tutors_random_0",
    "kl_and_attention+none",
    "no_distillation",
)
COMPARISONS = (
    "kl_only+none : plain",
    "attention_only+none : plain",
    "attention_only+none : attention_only+none+tutors_random_0",
    "kl_and_attention+none : kl_only+none",
    "student : no_distillation",
)
TUTORS = ("random_0", "random_1", "same_depth", "last_layer", "hub", "anew", "robust")
WIDTHS = ("random_0", "random_1", "uniform", "smallest", "largest")
ARMS = (
    *TABLE[:-1],
    *(f"attention_only+none+tutors_{name}" for name in TUTORS[1:]),
    *(f"kl_and_attention+none+tutors_{name}" for name in TUTORS),
    *(f"kl_and_attention+none+{name}" for name in WIDTHS),
    "no_distillation",
    "kl_only",
    "attention_only",
    "attention_only+tutors_random_0",
    "tutors_random_0",
    "tutors_robust",
)
ARM_COMPARISONS = (
    *COMPARISONS,
    *(f"attention_only+none : attention_only+none+tutors_{name}" for name in TUTORS[1:]),
    *(f"kl_and_attention+none : kl_and_attention+none+tutors_{name}" for name in TUTORS),
    *(f"kl_and_attention+none : kl_and_attention+none+{name}" for name in WIDTHS),
    "kl_only : no_distillation",
    "attention_only : no_distillation",
    "attention_only : attention_only+tutors_random_0",
    "student : kl_only",
    "student : tutors_random_0",
    "student : tutors_robust",
)
ALONE = {
    "train.gamma": 0.0,
    "train.kl_weight": 0.0,
    "baselines": ("no_distillation", "plain"),
    "comparisons": (),
}
VARIANTS = {
    **{name: {**ALONE, "train.objective": name} for name in choices.METHODS},
    "awp": _perturb_weights,
    "average": {"train.weight_average": 0.995},
    "methods": {
        "baselines": BASELINES,
        "comparisons": (),
        "evaluation.auto_attack": ("student", "baselines"),
        "evaluation.auto_attack_count": 1000,
    },
    "arms": {"baselines": ARMS, "comparisons": ARM_COMPARISONS},
    "smoke": rnas_cl.SMOKE,
}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    common.on_digits(config)
    config.data.mean = (0.305,)
    config.data.std = (0.376,)
    config.space = "tiny"
    config.bn_momentum = 0.9
    # Large for CIFAR, fitting here: at 0.15 a plainly trained network is lost, an adversarially trained one is not.
    config.adversarial.epsilon = "0.15"
    config.adversarial.step_size = "0.06"

    config.teacher.architecture = "wide_resnet_10_1"
    config.teacher.epochs = 30

    config.search.epochs = 15
    config.search.batch_size = 64
    config.tau.decay = 0.3

    config.train.epochs = 20
    config.train.batch_size = 64
    config.train.side_by_side = 5

    config.validation.every_epochs = 10
    config.validation.steps = 10
    config.evaluation.batch_size = 120
    config.evaluation.attacks = "fgsm,pgd_20,pgd_100"
    config.evaluation.epsilons = ("0.1", "0.05", "0.15")
    config.evaluation.curve = ("0", "0.05", "0.1", "0.15", "0.2", "0.3")
    config.evaluation.auto_attack = ("student", "strongest_baseline", "teacher")
    config.evaluation.auto_attack_count = 50
    config.baselines = TABLE
    config.comparisons = COMPARISONS
    config.checkpoint_every_steps = 100
    common.scale_first_epochs(config)
    return with_variants(config, VARIANTS, argument)

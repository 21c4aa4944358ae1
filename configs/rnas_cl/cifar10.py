"""RNAS-CL on CIFAR-10 with the joint adversarial objective.

Variants, joined by commas:
  s3, s5, s7, m, l  the space; s3 if none is named
  paper             as published: no adversarial images in search or training, BatchNorm momentum 0.997
  no_gamma_t        cross-layer distillation in search only (γ_t = 0)
  no_gamma          no cross-layer distillation at all (γ_s = γ_t = 0); the KL term stays
  arch_only         searched widths, then plain training (no distillation, no attack)
  attention_only    cross-layer term without the KL term
  per_batch         attention maps divided by one norm for the whole batch (released code)
  mean_layers       cross-layer loss averaged over layer pairs (eq. 1 as printed)
  search_only, train_only   the adversarial objective in one of the two stages
  none, pgd_at, mart, score, ard, rslad  another adversarial objective than trades
  akd2, iad_1, iad_2, mtard  the same in training alone: they need a teacher's outputs on adversarial images, most of
                    them also a second, naturally trained teacher
  awp, average      perturbed weights (γ = 0.005 from epoch 10 on), and a moving average of them, in training
  cutmix            images mixed by CutMix, with averaged weights, in training: for figures that compete
  generated         70 % of each training batch from a set of yours: add --config.data.extra=NAME (and data.extra_dir)
  released_cost     the cost formula of the released code
  finetune          20 epochs of TRADES after training
  study             for `rnas study`, see launch/gpu_study.sh: 40 epochs without attack in training, the paper's own
                    setting, five seeds; the student has KL and attention, its arms have less, or other tutors. Not run
  short             a few epochs with a small teacher, for two CPU cores
  smoke             every stage on few images, within three minutes on two CPU cores: does all work here?
for example `s7`, `s3,paper` or `m,paper,finetune`.

Cost: a search epoch of 175 steps at batch 256; the teacher, a WRN-34-10, costs 6.7 GMACs an image, a student of
s3 … s7 8 to 19 MMACs, times about 3 for each of 10 attack steps. Meant for one accelerator; `short` is measured
in docs/results.md. A trained teacher of your own goes in with --config.teacher.path=DIR.

Expect (published, without adversarial training, in another threat model than ours: see docs/sharp_edges.md): S7 90.6 %
clean with 0.32 M parameters. With the joint objective clean accuracy is lower and accuracy under attack at 8/255
much higher.
"""

from rnas.config import choices, with_variants
from rnas.config.defaults import rnas_cl

LARGE = {
    "search.batch_size": 128,
    "search.optimizer.name": "sgd",
    "search.optimizer.schedule": "step",
    "search.optimizer.milestones": (75, 90),
    "train.epochs": 100,
}
VARIANTS = {
    "s3": {"space": "s3"},
    "s5": {"space": "s5"},
    "s7": {"space": "s7"},
    "m": {"space": "m", **LARGE},
    "l": {"space": "l", **LARGE},
    "paper": {"adversarial.objective": "none", "bn_momentum": 0.997},
    "no_gamma_t": {"train.gamma": 0.0},
    "no_gamma": {"gamma": 0.0},
    "arch_only": {"train.gamma": 0.0, "train.kl_weight": 0.0, "train.objective": "none"},
    "attention_only": {"kl_weight": 0.0},
    "per_batch": {"attention.normalise": "per_batch"},
    "mean_layers": {"attention.reduction": "paper"},
    "search_only": {"train.objective": "none"},
    "train_only": {"search.objective": "none"},
    **{name: {"adversarial.objective": name} for name in ("none", "pgd_at", "mart", "score", "ard")},
    "rslad": {"adversarial.objective": "rslad", "kl_weight": 0.0},  # it already holds a clean KL
    # These hold their own distillation.
    **{name: {"train.objective": name, "train.kl_weight": 0.0} for name in ("akd2", "iad_1", "iad_2", "mtard")},
    "awp": {"train.perturbation.gamma": 0.005, "train.perturbation.first_epoch": 10},
    "average": {"train.weight_average": 0.995},
    "cutmix": {"train.cutmix": 1.0, "train.weight_average": 0.995},
    "generated": {"data.extra_share": 0.7, "train.weight_average": 0.995},
    "released_cost": {"cost.kind": "released"},
    "finetune": {"finetune.epochs": 20},
    "study": {
        "adversarial.objective": "none",
        "bn_momentum": 0.97,
        "search.epochs": 40,
        "tau.decay": 0.1,  # as cold after 40 epochs as the recipe after 89
        "train.epochs": 40,
        "baselines": choices.STUDY_ARMS,
        "comparisons": choices.STUDY_COMPARISONS,
        "evaluation.epsilons": ("2/255", "8/255"),
        "evaluation.attacks": choices.ATTACKS,
        "adversarial.iad_1.first_epoch": 0,
        "adversarial.iad_2.first_epoch": 0,
    },
    "short": {
        "data.held_out": 1000,
        "adversarial.steps": 3,
        "adversarial.step_size": "4/255",
        "bn_momentum": 0.95,
        "teacher.architecture": "wide_resnet_10_2",
        "teacher.steps": 3,
        "teacher.epochs": 2,
        "teacher.optimizer.schedule": "cosine",
        "search.epochs": 1,
        "search.batch_size": 128,
        "train.epochs": 2,
        "train.batch_size": 128,
        "validation.every_epochs": 1,
        "validation.count": 500,
        "evaluation.count": 500,
        "evaluation.attacks": choices.ATTACKS,
        "evaluation.curve": ("0", "2/255", "4/255", "8/255", "12/255", "16/255"),
        "checkpoint_every_steps": 100,
        # The published shares of the epochs, 60, 40 and 10 of 200.
        "adversarial.iad_1.first_epoch": 0,
        "adversarial.iad_2.first_epoch": 0,
        "train.perturbation.first_epoch": 0,
        "baseline_perturbation.trades.first_epoch": 0,
    },
    "smoke": rnas_cl.SMOKE,
}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    config.teacher.optimizer.schedule = "step"
    config.teacher.optimizer.milestones = (100, 150)
    return with_variants(config, VARIANTS, argument)

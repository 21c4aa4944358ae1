"""Every configuration key of a search over cells (DSARA, ARNAS, DARTS and their kin), its default and its unit."""

from ml_collections import ConfigDict

from rnas.config.checks import check_allowed
from rnas.config.defaults import sections as common


def get_config() -> ConfigDict:
    """The CIFAR-10 recipe of DSARA (arXiv 2212.14049), with ARNAS's weight of the adversarial loss (2405.05502)."""
    config = ConfigDict()
    config.system = "dsara"  # search over cells
    config.seed = 0  # of everything random
    config.data = data = common.data()
    data.mean = (0.0, 0.0, 0.0)  # the published networks see pixels as they are
    data.std = (1.0, 1.0, 1.0)

    # Networks.

    # dsara (3 cell types, 7 operations) | darts (2 cell types, 8 operations) | nasbench201 (1 cell type, 5 operations)
    config.space = "dsara"
    config.genotype = ""  # train this instead of searching: dsara, darts_v2, pdarts, racl, advrush, or a JSON file
    config.width_ratio = ()  # channels of the three stages; empty: the space's own, (1, 2, 2) or (1, 2, 4)
    config.bn_momentum = 0.9  # running statistics
    config.bn_update = "both"  # both | clean | adversarial: passes that move the running statistics
    config.dtype = "float32"  # float32 | bfloat16: compute type of student and teacher

    # A robust teacher for the cells, in search and in training: adversarial.objective + kl_weight·KL + gamma·L_attn.
    # The papers have none.

    config.gamma = 0.0  # weight of cross-layer distillation
    config.kl_weight = 0.0  # weight of KL(teacher ‖ student) on clean images
    config.adversarial = common.adversarial(
        "pgd_at", step_size="2/255", steps=7
    )  # in search and, but for changes, training
    config.attention = common.attention()
    config.selector = common.selector()
    config.tau = common.temperature()  # of tutors

    common.teacher(config)

    config.search = search = ConfigDict()
    common.stage_objective(config, search)  # of the weights; objective none: natural training
    # dsara | arnas | sum | darts1 | darts2 | advrush | advrush_per_image | smooth_rs | smooth_adv | random
    search.method = "dsara"
    search.channels = 24  # of the first cell
    search.cells = 8  # in all; in space nasbench201 in each of three stages
    search.epochs = 50  # of weights and architecture side by side
    search.batch_size = 32  # training images a step, over all devices; as many validation images
    search.stage1_epochs = 20  # dsara: first epochs, which follow the adversarial loss alone
    search.adversarial_weight = 0.1  # λ: of the adversarial validation loss beside the natural one
    search.second_order = "exact"  # exact | finite_difference (published) | none
    search.finite_difference_radius = 0.01  # radius of the difference, over ‖u‖
    search.attack_bn = "train_frozen"
    search.optimizer = common.optimizer(
        "sgd", 0.025, 3e-4, clip_norm=5.0, schedule="epoch_cosine", final_factor=0.04
    )  # weights
    search.arch_optimizer = common.optimizer(
        "adam", 3e-4, 1e-3, betas=(0.5, 0.999), schedule="constant"
    )  # architecture logits
    search.curvature = curvature = ConfigDict()  # advrush, advrush_per_image
    curvature.weight = 0.01  # γ of the regulariser
    curvature.first_epoch = 50  # of the regulariser

    config.derive = derive = ConfigDict()
    derive.tutor = "argmax"  # argmax | sampled (soft samples at temperature 0.055)

    config.train = train = ConfigDict()
    common.stage_objective(config, train)
    common.network_options(train)
    train.channels = 64  # of the first cell
    train.cells = 20  # in all; in space nasbench201 in each of three stages
    train.epochs = 200  # of the derived network
    train.batch_size = 32  # over all devices
    train.step_size = "0.01"
    train.start = "gaussian"
    train.clean_pass = True
    train.optimizer = common.optimizer("sgd", 0.1, 1e-4, clip_norm=5.0, schedule="step", milestones=(99, 149))

    config.finetune = common.finetune(common.optimizer("sgd", 0.001, 1e-4, clip_norm=5.0))

    # Networks trained like the student, for comparison: random_0, random_1, … (cells of the space drawn at random, at
    # the student's MACs), names of published genotypes, no_distillation (gamma = kl_weight = 0), plain (also without
    # attack), or one method alone: pgd_at, trades, mart, …, mtard, pgd_at_awp, trades_awp.
    config.baselines = ()

    # Paired comparisons 'ARM : REFERENCE', of baselines, student or teacher; empty: every baseline with the student.
    config.comparisons = ()
    config.baseline_perturbation = common.baseline_perturbation()
    config.baseline_selector = common.baseline_selector()

    config.validation = common.validation()
    config.validation.every_epochs = 1
    config.validation.first_epoch = 90  # robust overfitting: the best model comes just after the first drop
    config.evaluation = common.evaluation()
    config.study = common.study()
    config.evaluation.last = True
    config.evaluation.auto_attack = ("student",)

    config.log_every_steps = 20  # steps a dispatch; also how often metrics are recorded
    config.trackers = ("tensorboard",)  # where they are shown beside metrics.jsonl: tensorboard, wandb, mlflow, trackio
    config.checkpoint_every_steps = 200  # steps between two checkpoints
    return config


def check(config: ConfigDict) -> None:
    """The rules of this system that need no network; raises ValueError, see `sections.check`."""
    common.check(config)
    check_allowed(config, {
        "search.second_order": ("exact", "finite_difference", "none"),
        "search.attack_bn": ("eval", "train_frozen"),
    })  # fmt: skip
    if config.data.streaming:
        raise ValueError("the cell search needs the images in memory: data.streaming must be False.")
    searches = not config.genotype and config.search.method != "random"
    if searches and config.search.second_order != "none" and config.search.optimizer.name != "sgd":
        raise ValueError(
            f"search.second_order={config.search.second_order!r} looks one step of sgd ahead, but "
            f"search.optimizer.name={config.search.optimizer.name!r}; use 'sgd', or second_order 'none'."
        )


def _strategy(method: str, objective: str, second_order: str = "exact", **search) -> dict:
    search = {"method": method, "objective": objective, "second_order": second_order, **search}
    return {f"search.{key}": value for key, value in search.items()}


# Strategies of the search as published, and changes of one. `darts1` and its kin search on natural images.
STRATEGIES = {
    "dsara": _strategy("dsara", "pgd_at"),
    "arnas": _strategy("arnas", "pgd_at"),
    "sum": _strategy("sum", "pgd_at"),
    "darts1": _strategy("darts1", "none", "none"),
    "darts2": _strategy("darts2", "none"),
    "darts2_adversarial": _strategy("darts2", "pgd_at"),
    "advrush": _strategy("advrush", "none", "none", epochs=60),
    "advrush_per_image": _strategy("advrush_per_image", "none", "none", epochs=60),  # our own scale of its regulariser
    "smooth_rs": _strategy("smooth_rs", "none", "none"),
    "smooth_adv": _strategy("smooth_adv", "none", "none"),
    "random": _strategy("random", "pgd_at"),
    "finite_difference": {"search.second_order": "finite_difference"},
    "first_order": {"search.second_order": "none"},
    "distil": {"gamma": 1.0, "kl_weight": 1.0},  # a robust teacher for the cells: the objective of RNAS-CL
}
SMOKE = {  # as that of `rnas_cl`, without the second-order term, which takes minutes to compile
    **common.SMOKE,
    "search.second_order": "none",
    "search.epochs": 2,
    "search.stage1_epochs": 1,
    "search.channels": 4,
    "search.cells": 3,
    "train.channels": 4,
    "train.cells": 3,
    "baselines": ("random_0",),
}
VARIANTS = {
    **STRATEGIES,
    "darts": {"space": "darts", "search.channels": 16, "train.channels": 36},
    "wide": {"width_ratio": (1, 2, 4)},
    "smoke": SMOKE,
}

"""Every configuration key of a search over cells (DSARA, ARNAS, DARTS and their kin), its default and its unit."""

from ml_collections import ConfigDict

from rnas.config.defaults import sections as common


def get_config() -> ConfigDict:
    """The CIFAR-10 recipe of DSARA (arXiv 2212.14049), with ARNAS's weight of the adversarial loss (2405.05502)."""
    config = ConfigDict()
    config.system = "dsara"
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

    # A robust teacher for the cells, in search and in training: + kl_weight·KL + gamma·L_attn. Not in the papers.
    config.gamma = 0.0  # weight of cross-layer distillation
    config.kl_weight = 0.0  # weight of KL(teacher ‖ student) on clean images
    config.adversarial = common.adversarial(
        "pgd_at", step_size="2/255", steps=7
    )  # in search and, but for changes, training
    config.attention = common.attention()
    config.selector = common.selector()
    config.tau = common.temperature()  # of tutors

    config.teacher = common.teacher()

    config.search = search = ConfigDict()
    common.stage_objective(config, search)  # of the weights; objective none: natural training
    # dsara | arnas | sum | darts1 | darts2 | advrush | smooth_rs | smooth_adv | random
    search.method = "dsara"
    search.channels = 24  # of the first cell
    search.cells = 8
    search.epochs = 50
    search.batch_size = 32  # training images a step, over all devices; as many validation images
    search.stage1_epochs = 20  # dsara: first epochs, which follow the adversarial loss alone
    search.adversarial_weight = 0.1  # λ: of the adversarial validation loss beside the natural one
    search.second_order = "exact"  # exact | finite_difference (published) | none
    search.finite_difference_radius = 0.01  # over ‖u‖
    search.attack_bn = "train_frozen"
    search.optimizer = common.optimizer(
        "sgd", 0.025, 3e-4, clip_norm=5.0, schedule="epoch_cosine", final_factor=0.04
    )  # weights
    search.arch_optimizer = common.optimizer(
        "adam", 3e-4, 1e-3, betas=(0.5, 0.999), schedule="constant"
    )  # architecture logits
    search.curvature = curvature = ConfigDict()  # advrush
    curvature.weight = 0.01  # γ of the regulariser
    curvature.first_epoch = 50  # of the regulariser

    config.derive = derive = ConfigDict()
    derive.tutor = "argmax"  # argmax | sampled (soft samples at temperature 0.055)

    config.train = train = ConfigDict()
    common.stage_objective(config, train)
    common.network_options(train)
    train.channels = 64  # of the first cell
    train.cells = 20
    train.epochs = 200
    train.batch_size = 32  # over all devices
    train.step_size = "0.01"
    train.start = "gaussian"
    train.clean_pass = True
    train.optimizer = common.optimizer("sgd", 0.1, 1e-4, clip_norm=5.0, schedule="step", milestones=(99, 149))
    train.perturbation = common.perturbation()  # of the weights
    train.weight_average = 0.0  # decay per step of a moving average, which is then the student (0.995); 0: none

    config.finetune = common.finetune(common.optimizer("sgd", 0.001, 1e-4, clip_norm=5.0))

    # Networks trained like the student, for comparison: random_0, random_1, … (cells of the space drawn at random),
    # names of published genotypes, no_distillation (gamma = kl_weight = 0), plain (also without attack), or one method
    # alone: pgd_at, trades, mart, …, mtard, pgd_at_awp, trades_awp.
    config.baselines = ()

    config.baseline_perturbation = common.baseline_perturbation()

    config.validation = common.validation()
    config.validation.every_epochs = 1
    config.validation.first_epoch = 90  # robust overfitting: the best model comes just after the first drop
    config.evaluation = common.evaluation()
    config.evaluation.last = True
    config.evaluation.auto_attack = ("student",)

    config.log_every_steps = 20  # steps a dispatch; also how often metrics are recorded
    config.checkpoint_every_steps = 200
    return config


def _searched(method: str, objective: str, second_order: str = "exact", **changes):
    def change(config):
        config.search.method = method
        config.search.objective = objective
        config.search.second_order = second_order
        for key, value in changes.items():
            config.search[key] = value

    return change


def _darts_space(config):
    config.space = "darts"
    config.search.channels = 16
    config.train.channels = 36


def _distil(config):
    config.gamma = config.kl_weight = 1.0


def _set(**values):
    def change(config):
        config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})

    return change


VARIANTS = {
    # Strategies, as published. `darts1` and its kin search on natural images.
    "dsara": _searched("dsara", "pgd_at"),
    "arnas": _searched("arnas", "pgd_at"),
    "sum": _searched("sum", "pgd_at"),
    "darts1": _searched("darts1", "none", "none"),
    "darts2": _searched("darts2", "none"),
    "darts2_adversarial": _searched("darts2", "pgd_at"),
    "advrush": _searched("advrush", "none", "none", epochs=60),
    "smooth_rs": _searched("smooth_rs", "none", "none"),
    "smooth_adv": _searched("smooth_adv", "none", "none"),
    "random": _searched("random", "pgd_at"),
    # The other space, and what the papers ablate.
    "darts": _darts_space,
    "finite_difference": _set(search__second_order="finite_difference"),
    "first_order": _set(search__second_order="none"),
    "wide": _set(width_ratio=(1, 2, 4)),
    # A robust teacher for the cells: the objective of RNAS-CL.
    "distil": _distil,
}


def with_variants(config: ConfigDict, argument: str) -> ConfigDict:
    """Changes `config` by the names in `argument`, joined by commas.

    Raises:
      ValueError: for an unknown name.
    """
    for name in filter(None, argument.split(",")):
        if name not in VARIANTS:
            raise ValueError(f"unknown variant {name!r}; expected any of {', '.join(VARIANTS)}.")
        VARIANTS[name](config)
    return config

"""Every configuration key of an RNAS-CL run, its default and its unit."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from rnas.config.checks import check_allowed
from rnas.config.defaults import sections as common


def get_config() -> ConfigDict:
    """The CIFAR-10 recipe of RNAS-CL with the joint adversarial objective."""
    config = ConfigDict()
    config.system = "rnas_cl"  # RNAS-CL, arXiv 2301.08092
    config.seed = 0  # of everything random
    config.data = common.data()

    # Student.

    config.space = "s3"  # tiny | s1 | s3 | s5 | s7 | m | l | imagenet
    config.mask_expansion = True  # expanded channels follow the chosen input width
    # aligned (cut or padded to the chosen width) | equal_only (no shortcut between different widths)
    config.shortcut = "aligned"
    config.conv_bias = True  # True: convolutions have biases
    config.bn_momentum = 0.99  # running statistics; 0.997 with objective `none`, see configs
    config.bn_update = "both"  # both | clean | adversarial: passes that move the running statistics
    config.dtype = "float32"  # float32 | bfloat16: compute type of student and teacher

    # Joint objective, in search and in training: adversarial.objective + kl_weight·KL + gamma·L_attn.
    config.gamma = 1.0  # weight of cross-layer distillation
    config.kl_weight = 1.0  # weight of KL(teacher ‖ student) on clean images
    config.adversarial = common.adversarial("trades", step_size="2/255", steps=10)
    config.attention = common.attention()
    config.selector = common.selector()
    config.tau = common.temperature()  # of widths and tutors

    config.cost = cost = ConfigDict()  # n_f = alpha·beta·log(cost)
    # macs | params | released (the formula of the released code) | latency (in microseconds, of cost.table)
    cost.kind = "macs"
    cost.table = ""  # file of rnas describe --latency-table, where cost.kind or budget.kind is latency
    cost.alpha = 0.2  # 0 switches the factor off
    cost.beta = 0.5  # scale of the logarithm
    config.budget = budget = ConfigDict()
    budget.mode = "none"  # none | soft (penalty in search) | hard (narrowing at derivation)
    budget.kind = "macs"  # macs | params | latency: quantity that is limited
    budget.target = placeholder(float)  # in units of budget.kind; of latency in milliseconds of one image
    budget.weight = 10.0  # of the soft penalty

    config.arch_fraction = 0.2  # share of each search epoch's steps that update the architecture
    config.arch_warmup_epochs = 0  # first epochs without architecture steps
    config.split = "shared"  # shared | disjoint: images of weight and architecture steps

    # Stages.

    common.teacher(config)

    config.search = search = ConfigDict()
    common.stage_objective(config, search)
    search.epochs = 100  # of weights and architecture in turn
    search.batch_size = 256  # over all devices
    search.optimizer = common.optimizer("adam", 0.004, 2e-4)  # weights
    search.arch_optimizer = common.optimizer("adam", 0.1, 1e-4)  # width and tutor logits

    config.derive = derive = ConfigDict()
    derive.init = "fresh"  # fresh | supernet: weights that training starts from
    derive.tutor = "argmax"  # argmax | sampled (soft samples at temperature 0.055, released code)

    config.train = train = ConfigDict()
    common.stage_objective(config, train)
    common.network_options(train)
    train.epochs = 200  # of the derived network
    train.batch_size = 256  # over all devices
    train.optimizer = common.optimizer("adam", 0.004, 4e-5)

    config.finetune = common.finetune(common.optimizer("adam", 0.004, 4e-5))  # the paper's optional one has 20 epochs

    # What the student is compared with, see `rnas.runs.baselines`: parts of other kinds joined by '+', as in
    # 'kl_only+none'. Terms: no_distillation, kl_only, attention_only, kl_and_attention. Methods, which stand alone
    # unless terms are named: none, pgd_at, trades, …, mtard, pgd_at_awp, trades_awp; plain: none alone. Tutors:
    # tutors_same_depth, tutors_last_layer, tutors_hub, tutors_random_1, …, tutors_anew, tutors_robust. Widths:
    # random_1, … and uniform, both at the student's MACs, smallest, largest.
    config.baselines = ("no_distillation", "plain")

    # Paired comparisons 'ARM : REFERENCE', of baselines, student or teacher; empty: every baseline with the student.
    config.comparisons = ()
    config.baseline_perturbation = common.baseline_perturbation()
    config.baseline_selector = common.baseline_selector()

    config.validation = common.validation()
    config.evaluation = common.evaluation()
    config.study = common.study()

    config.log_every_steps = 20  # steps a dispatch; also how often metrics are recorded
    config.trackers = ("tensorboard",)  # where they are shown beside metrics.jsonl: tensorboard, wandb, mlflow, trackio
    config.checkpoint_every_steps = 200  # steps between two checkpoints
    return config


def check(config: ConfigDict) -> None:
    """The rules of this system that need no network; raises ValueError, see `sections.check`."""
    common.check(config)
    check_allowed(
        config,
        {
            "shortcut": ("aligned", "equal_only"),
            "split": ("shared", "disjoint"),
            "cost.kind": ("macs", "params", "released", "latency"),
            "budget.mode": ("none", "soft", "hard"),
            "budget.kind": ("macs", "params", "latency"),
            "derive.init": ("fresh", "supernet"),
        },
    )
    if config.budget.mode != "none" and config.budget.target is None:
        unit = "milliseconds" if config.budget.kind == "latency" else config.budget.kind
        raise ValueError(f"budget.mode={config.budget.mode!r} needs a budget.target, in {unit}.")
    _check_latency(config)
    if config.split == "disjoint" and config.data.streaming:
        raise ValueError("split='disjoint' needs the images in memory; use split='shared' with data.streaming.")


def _check_latency(config: ConfigDict) -> None:
    """Refuses latency without its table, and a budget of another quantity beside it."""
    kinds = {"cost.kind": config.cost.kind}
    if config.budget.mode != "none":
        kinds["budget.kind"] = config.budget.kind
    named = " and ".join(f"{key}={kind!r}" for key, kind in kinds.items())
    wanted = [kind == "latency" for kind in kinds.values()]
    if any(wanted) and not all(wanted):
        raise ValueError(
            f"{named}: latency is the cost and what the budget limits, or neither. Set both, with budget.target in "
            f"milliseconds of one image, which is {config.budget.target} now."
        )
    if any(wanted) and not config.cost.table:
        raise ValueError(
            f"{named} needs cost.table, the file of a latency table: rnas describe --config=FILE --latency-table=FILE "
            "measures one."
        )
    if config.cost.table and not any(wanted):
        raise ValueError(f"cost.table={config.cost.table!r} is for latency, but {named}: empty it, or set 'latency'.")


# Every stage within three minutes on two CPU cores: does all work here? Its figures mean nothing.
SMOKE = {
    **common.SMOKE,
    "space": "tiny",
    "budget.mode": "none",
}

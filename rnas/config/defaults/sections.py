"""Sections that several systems share: every key with its unit in a comment, and the rules of a section beside it.

Radii and step sizes are strings such as '8/255', in units of pixels scaled to [0, 1].
"""

from ml_collections import ConfigDict

from rnas.config import choices
from rnas.config.checks import check_allowed, check_different


def optimizer(name: str, learning_rate: float, l2: float, **changes) -> ConfigDict:
    """An optimiser's section; `changes` replace defaults of its other keys."""
    config = ConfigDict()
    config.name = name  # adam | sgd
    config.learning_rate = learning_rate  # of the first step
    config.l2 = l2  # coupled decay, added to the gradient of every parameter
    config.momentum = 0.9  # sgd only: of the sum of gradients
    config.betas = (0.9, 0.999)  # adam only: decay of the averages of gradient and square
    config.clip_norm = 0.0  # largest global norm of the gradient, before decay; 0: no limit
    config.schedule = "cosine"  # cosine (every step) | epoch_cosine (every epoch) | step | constant | one_cycle
    config.final_factor = 4e-5  # cosine: last rate over first rate
    config.milestones = ()  # step: epochs at which the rate is multiplied by 0.1
    config.update(changes)
    return config


def data() -> ConfigDict:
    """CIFAR-10 with 5,000 training images held out."""
    config = ConfigDict()
    config.name = "cifar10"  # a TFDS image-classification set, or `digits`
    # Folder of TFDS sets, or of this one as rnas data import makes it; empty: ~/tensorflow_datasets, or the user cache
    # for digits.
    config.dir = ""
    config.image_shape = (32, 32, 3)  # pixels, pixels, channels
    config.num_classes = 10  # classes of the set, of those kept by class_ids
    config.class_ids = ()  # keep only these classes, renumbered in this order; empty: all
    config.held_out = 5000  # training images, equal numbers a class, that choose models and never train
    config.train_count = 0  # training images to keep of the others, equal numbers a class; 0: all
    config.crop_padding = 4  # pixels of zero padding before a random crop
    config.flip = True  # mirror half of the training images
    config.mean = (0.491, 0.482, 0.447)  # normalisation inside the model, pixels in [0, 1]
    config.std = (0.247, 0.243, 0.262)  # of the same normalisation
    # Another prepared set of the same image shape and classes, such as generated images, whose training part trains
    # student and baselines too (not teacher and search); empty: none. An epoch stays as long as without.
    config.extra = ""
    config.extra_dir = ""  # where that set is, as data.dir
    config.extra_share = 0.7  # of every batch, that is of that set
    config.streaming = False  # True: decode on the host while training (sets that do not fit in memory)
    config.workers = 0  # processes that decode a stream; 0: a thread for every core, in this one
    return config


def adversarial(objective: str, step_size: str, steps: int) -> ConfigDict:
    """The adversarial part of an objective, the attack inside it, and a section of coefficients for each method."""
    config = ConfigDict()
    # none | pgd_at | trades | mart | score; with a robust teacher: ard | rslad; in training only: iad_1, and with a
    # naturally trained teacher beside the robust one: akd2 | iad_2 | mtard
    config.objective = objective
    config.epsilon = "8/255"  # L∞ radius
    config.step_size = step_size  # of one attack iteration
    config.steps = steps  # attack iterations
    config.start = "own"  # own (as the method was published) | uniform | gaussian (0.001·N(0,1)) | none
    # BatchNorm mode during the attack: eval | train_frozen (batch statistics) | train (they also move the running
    # ones: ard, iad_1, iad_2, akd2 as published) | own (as the method was published)
    config.attack_bn = "eval"
    add_coefficients(config)
    return config


def add_coefficients(adversarial: ConfigDict) -> None:
    """Adds a section for each adversarial method that has coefficients, as published.

    Divergences sum over the classes. `kl_scale` multiplies them: the code of ard averages over K classes, so 1/K; that
    of rslad and mtard as well, but multiplies by 10 where K = 100, so 1/10 always.
    """
    adversarial.trades = trades = ConfigDict()
    trades.beta = 6.0  # weight of the robust term
    adversarial.mart = mart = ConfigDict()
    mart.beta = 6.0  # weight of the robust term
    adversarial.score = score = ConfigDict()
    score.beta = 5.0  # weight of the robust term; no published default
    score.smoothing = 0.1  # of the labels
    adversarial.ard = ard = ConfigDict()
    ard.alpha = 1.0  # share of the teacher; the rest is cross-entropy of clean images
    ard.temperature = 30.0  # of the softmax of teacher and student
    ard.kl_scale = 0.1  # factor of the divergence, 1/K
    adversarial.rslad = rslad = ConfigDict()
    rslad.kl_scale = 0.1  # factor of the divergences
    adversarial.akd2 = akd2 = ConfigDict()
    akd2.robust = 0.5  # weight of the robust teacher
    akd2.natural = 0.25  # weight of the naturally trained one; the rest is cross-entropy
    adversarial.iad_1 = iad_1 = ConfigDict()
    iad_1.alpha = 1.0  # share of teacher and self; the rest is cross-entropy of clean images
    iad_1.beta = 0.1  # power of the teacher's probability of the label, the trust in the teacher
    iad_1.temperature = 1.0  # of the softmax of teacher and student
    iad_1.first_epoch = 60  # from which on the trust may be less than 1; published for 200 epochs; in fine-tuning 0
    adversarial.iad_2 = iad_2 = ConfigDict()
    iad_2.robust = 0.5  # weight of the robust teacher and of self
    iad_2.natural = 0.25  # weight of the naturally trained one; the rest is cross-entropy
    iad_2.beta = 0.1  # power of the teacher's probability of the label, the trust in the teacher
    iad_2.first_epoch = 40  # from which on the trust may be less than 1; published for 200 epochs; in fine-tuning 0
    adversarial.mtard = mtard = ConfigDict()
    mtard.rate = 0.025  # of the teachers' weights; falls with the learning rate
    mtard.kl_scale = 0.1  # factor of the divergences


def scale_first_epochs(config: ConfigDict) -> None:
    """Sets the first epochs of iad_1 and iad_2 to the published shares of training, 60 and 40 of 200 epochs."""
    config.adversarial.iad_1.first_epoch = 60 * config.train.epochs // 200
    config.adversarial.iad_2.first_epoch = 40 * config.train.epochs // 200


def stage_objective(config: ConfigDict, stage: ConfigDict) -> None:
    """Adds the keys of the joint objective to the section of a stage; each is the shared value unless it is changed."""
    stage.objective = config.adversarial.get_oneway_ref("objective")  # adversarial method; none: natural training
    stage.gamma = config.get_oneway_ref("gamma")  # weight of cross-layer distillation
    stage.kl_weight = config.get_oneway_ref("kl_weight")  # weight of KL(teacher ‖ student) on clean images
    stage.step_size = config.adversarial.get_oneway_ref("step_size")  # of one attack iteration
    stage.start = config.adversarial.get_oneway_ref("start")  # as adversarial.start
    stage.attack_bn = config.adversarial.get_oneway_ref("attack_bn")  # as adversarial.attack_bn
    stage.bn_update = config.get_oneway_ref("bn_update")  # both | clean | adversarial: passes that move the statistics
    stage.clean_pass = False  # True: a clean pass although no loss term needs it, for its statistics


def network_options(stage: ConfigDict) -> None:
    """Adds what only training of the final network uses."""
    stage.auxiliary = 0.0  # weight of the auxiliary head's loss, on clean images; 0: no head (stacked cells only)
    stage.cutout = 0  # side of the square that augmentation blanks, pixels; 0: none
    # Share of the images that CutMix mixes with another one, labels too (arXiv 1905.04899; published: 0.5 and 1); it
    # goes with weight_average (arXiv 2103.01946). 0: none.
    stage.cutmix = 0.0
    stage.drop_path = 0.0  # probability of dropping a path, at the last epoch; grows linearly (stacked cells only)
    stage.perturbation = perturbation()  # of the weights
    stage.weight_average = 0.0  # decay per step of a moving average, which is then the student (0.995); 0: none
    stage.side_by_side = 1  # arms of a study trained in one program; 1: one after another, faster on a CPU


def baseline_perturbation() -> ConfigDict:
    """Perturbed weights of the baselines `pgd_at_awp` and `trades_awp`, as published (arXiv 2004.05884)."""
    config = ConfigDict()
    config.pgd_at = perturbation(0.01)
    config.trades = perturbation(0.005, first_epoch=10)
    return config


def perturbation(gamma: float = 0.0, first_epoch: int = 0) -> ConfigDict:
    """Adversarial weight perturbation (AWP, arXiv 2004.05884) around any objective."""
    config = ConfigDict()
    config.gamma = gamma  # of a kernel's norm; published: 0.01 with pgd_at, 0.005 with trades; 0: none
    config.first_epoch = first_epoch  # published: 0 with pgd_at, 10 with trades; in fine-tuning always 0
    return config


def attention() -> ConfigDict:
    """How attention maps of student and teacher are compared."""
    config = ConfigDict()
    config.size = 14  # side of a resized attention map, pixels
    config.reduction = "sum_layers"  # sum_layers | paper (divides by student taps × teacher taps)
    config.normalise = "per_sample"  # per_sample | per_batch (released code)
    config.view = "clean"  # clean | adversarial | both: student view that is compared
    return config


def selector() -> ConfigDict:
    """How a student layer draws its tutor."""
    config = ConfigDict()
    config.hard = False  # straight-through one-hot samples
    # Weight of how far an attack on the teacher moves the attention map of a layer, added to the distance from it:
    # the selector then prefers layers that withstand attack. 0: the nearest layer alone, as published.
    config.robustness = 0.0
    return config


def baseline_selector() -> ConfigDict:
    """How the tutors of the baselines tutors_robust are searched."""
    config = ConfigDict()
    config.robustness = 1.0  # as selector.robustness; ours, not tuned
    return config


def temperature() -> ConfigDict:
    """Temperature of the Gumbel-softmax, max(start·exp(−decay·epoch), min)."""
    config = ConfigDict()
    config.start = 5.0  # at epoch 0
    config.decay = 0.045  # per epoch
    config.min = 0.0  # lowest temperature
    return config


def teacher(config: ConfigDict) -> None:
    """Adds the robust teacher: a directory, or how to train one. Some methods need a second, naturally trained one.

    The attack's radius and step are those of `adversarial` unless they are changed; its start is the method's own.
    """
    config.teacher = teacher = ConfigDict()
    teacher.path = ""  # a teacher directory, or shipped:NAME of one that comes with rnas; empty: train one here
    teacher.natural_path = ""  # the same for the second teacher, which is trained like the first but without attack
    teacher.architecture = "wide_resnet_34_10"  # of the teachers trained here
    teacher.objective = "pgd_at"  # pgd_at | trades | mart | score | none
    # L∞ radius of its training; held-out images judge every stage at adversarial.epsilon
    teacher.epsilon = config.adversarial.get_oneway_ref("epsilon")
    teacher.step_size = config.adversarial.get_oneway_ref("step_size")  # of one attack iteration
    teacher.steps = 10  # attack iterations
    teacher.epochs = 200  # of its training
    teacher.batch_size = 128  # over all devices
    teacher.optimizer = optimizer("sgd", 0.1, 5e-4)
    teacher.perturbation = perturbation()  # of the weights; not of the naturally trained teacher's
    teacher.weight_average = 0.0  # decay per step of a moving average, which is then the teacher; 0: none
    teacher.cache = cache = ConfigDict()  # of its outputs on the training images, instead of a pass in every step
    # Augmentations of each image, cycled over the epochs; baselines without a teacher see the same. 0: no cache, new
    # augmentations in every epoch.
    cache.views = 0
    cache.dir = ""  # may be shared by runs of one teacher, data, augmentation and seed; empty: WORKDIR/teacher_cache
    cache.resident_gib = 2.0  # GiB; a cache up to this size is kept on every device, a larger one is read from disk


def finetune(recipe: ConfigDict) -> ConfigDict:
    """TRADES, or another method, after training, with the distilling terms kept."""
    config = ConfigDict()
    config.epochs = 0  # of fine-tuning; 0: none
    config.objective = "trades"  # as adversarial.objective
    config.optimizer = recipe  # of this stage
    return config


def validation() -> ConfigDict:
    """Scores on held-out training images, which choose checkpoints."""
    config = ConfigDict()
    config.every_epochs = 5  # epochs between two scores
    config.first_epoch = 0  # no score before this epoch of a stage that trains a fixed network
    config.count = 1000  # images at most
    config.steps = 20  # PGD iterations
    # Share of its best so far, and of training accuracy under attack, below which held-out PGD accuracy stops a stage
    # that trains under attack (catastrophic overfitting); 0: never.
    config.collapse = 0.5
    return config


def evaluation() -> ConfigDict:
    """Attacks on the test set, once."""
    config = ConfigDict()
    config.count = 0  # first images of the test set; 0: all
    config.batch_size = 250  # over all devices
    config.epsilons = ("8/255", "2/255")  # the first is the headline; steps scale with it
    # Projected ascents of the tables, as `rnas attack` names them: NAME*R starts R times; pgd_100 must be there.
    config.attacks = f"{choices.ATTACKS}*5"
    # Radii of the robustness curve.
    config.curve = ("0", "1/255", "2/255", "4/255", "6/255", "8/255", "10/255", "12/255", "16/255")
    config.models = ("student", "baselines", "teacher")  # that are judged; a baseline may be named, baseline_<name>
    config.last = False  # also judge the student of the last epoch, beside the one that held-out images chose
    # Models that AutoAttack judges too, at the headline radius: student, teacher, baseline_<name>, baselines (all),
    # strongest_baseline (the one with the highest accuracy under PGD-100).
    config.auto_attack = ("student", "baselines", "teacher")
    config.auto_attack_count = 1000  # first images of those counted above that it attacks; 0: all
    # Models that common corruptions judge too, named as in auto_attack; each takes some 95 passes an image, and a core
    # 25 ms an image of 32×32 pixels to make them.
    config.corruptions = ()
    return config


def study() -> ConfigDict:
    """What `rnas study` repeats and compares; a single run does not read it."""
    config = ConfigDict()
    config.seeds = (0, 1, 2, 3, 4)  # of one run each
    config.auto_attack = ("student", "baselines", "teacher")  # in place of evaluation.auto_attack
    config.auto_attack_count = 1000  # in place of evaluation.auto_attack_count
    return config


def check(config: ConfigDict) -> None:
    """The rules of the sections above, for a configuration that has all of them.

    Raises ValueError naming the key, its value and what is expected.
    """
    check_allowed(config, {"dtype": ("float32", "bfloat16"), "derive.tutor": ("argmax", "sampled")})
    if config.teacher.cache.views and config.data.streaming:
        raise ValueError("a teacher cache needs the images in memory: use teacher.cache.views=0 with data.streaming.")
    if config.teacher.cache.views and (config.data.extra or config.train.cutmix):
        raise ValueError(
            "a teacher cache holds outputs for the set's own images as they are: use teacher.cache.views=0 with "
            "data.extra or train.cutmix."
        )
    if config.data.extra and config.data.streaming:
        raise ValueError("data.extra needs the images in memory: it does not go with data.streaming.")
    if "student" not in config.evaluation.models:
        raise ValueError(f"evaluation.models = {config.evaluation.models}: the student is always among them.")
    check_different(config, "baselines", "comparisons", "data.class_ids", "evaluation.epsilons", "evaluation.curve")
    for key in ("mean", "std"):
        if len(config.data[key]) != config.data.image_shape[2]:
            raise ValueError(
                f"data.{key} = {tuple(config.data[key])}: expected one for each channel of data.image_shape = "
                f"{tuple(config.data.image_shape)}."
            )
    if not config.evaluation.epsilons:
        raise ValueError("evaluation.epsilons is empty; its first radius is the headline of the evaluation.")


# What a variant `smoke` changes in every file: few images, one epoch a stage, attacks of one step in training.
SMOKE = {
    "data.held_out": 100,
    "data.train_count": 320,
    "adversarial.steps": 1,
    "teacher.architecture": "wide_resnet_10_1",
    "teacher.steps": 1,
    "search.epochs": 1,
    "finetune.epochs": 1,
    "teacher.epochs": 1,
    "train.epochs": 1,
    **{f"{stage}.batch_size": 32 for stage in ("teacher", "search", "train")},
    "baselines": ("no_distillation", "plain"),
    "comparisons": (),
    "study.seeds": (0, 1),
    "study.auto_attack_count": 10,
    "validation.every_epochs": 1,
    "validation.first_epoch": 0,
    "validation.count": 40,
    "validation.steps": 2,
    "evaluation.count": 40,
    "evaluation.batch_size": 40,
    "evaluation.attacks": "fgsm,pgd_100",
    "evaluation.auto_attack": ("student",),
    "evaluation.auto_attack_count": 10,
    "log_every_steps": 5,
    "checkpoint_every_steps": 5,
}


def on_fashion_mnist(config: ConfigDict) -> None:
    """Changes `config` to Fashion-MNIST, 28×28 grey."""
    data = config.data
    data.name = "fashion_mnist"
    data.image_shape = (28, 28, 1)
    data.mean = (0.286,)
    data.std = (0.353,)
    data.crop_padding = 2


def on_digits(config: ConfigDict) -> None:
    """Changes `config` to 8×8 handwritten digits, with a teacher that two CPU cores train within a minute."""
    data = config.data
    data.name = "digits"
    data.image_shape = (8, 8, 1)
    data.num_classes = 10
    data.held_out = 137
    data.crop_padding = 1
    data.flip = False
    data.mean = (0.0,)
    data.std = (1.0,)
    config.attention.size = 8
    config.adversarial.steps = 4
    teacher = config.teacher
    teacher.architecture = "wide_resnet_10_2"
    teacher.steps = 4
    teacher.epochs = 15
    teacher.batch_size = 64
    teacher.optimizer.learning_rate = 0.05
    teacher.optimizer.final_factor = 0.0

"""Sections that every system's configuration has.

Radii and step sizes are strings such as '8/255', in units of pixels scaled to [0, 1].
"""

from ml_collections import ConfigDict


def optimizer(name: str, learning_rate: float, l2: float, **changes) -> ConfigDict:
    """An optimiser's section; `changes` replace defaults of its other keys."""
    config = ConfigDict()
    config.name = name  # adam | sgd
    config.learning_rate = learning_rate  # of the first step
    config.l2 = l2  # coupled decay, added to the gradient of every parameter
    config.momentum = 0.9  # sgd only
    config.betas = (0.9, 0.999)  # adam only
    config.clip_norm = 0.0  # largest global norm of the gradient, before decay; 0: no limit
    config.schedule = "cosine"  # cosine (every step) | epoch_cosine (every epoch) | step | constant
    config.final_factor = 4e-5  # cosine: last rate over first rate
    config.milestones = ()  # step: epochs at which the rate is multiplied by 0.1
    config.update(changes)
    return config


def data() -> ConfigDict:
    """CIFAR-10 with 5,000 training images held out."""
    config = ConfigDict()
    config.name = "cifar10"  # a TFDS image-classification set, or `digits`
    config.dir = ""  # TFDS data directory; empty: ~/tensorflow_datasets, or the user cache for digits
    config.image_shape = (32, 32, 3)  # pixels, pixels, channels
    config.num_classes = 10
    config.class_ids = ()  # keep only these classes, renumbered in this order; empty: all
    config.held_out = 5000  # training images, equal numbers a class, that choose models and never train
    config.crop_padding = 4  # pixels of zero padding before a random crop
    config.flip = True  # mirror half of the training images
    config.mean = (0.491, 0.482, 0.447)  # normalisation inside the model, pixels in [0, 1]
    config.std = (0.247, 0.243, 0.262)
    config.streaming = False  # True: decode on the host while training (sets that do not fit in memory)
    return config


def adversarial(objective: str, step_size: str, steps: int) -> ConfigDict:
    """The adversarial part of an objective, the attack inside it, and a section of coefficients for each method."""
    config = ConfigDict()
    # A: none | pgd_at | trades | mart | score; with a robust teacher: ard | rslad; in training only: iad_1, and with a
    # naturally trained teacher beside the robust one: akd2 | iad_2 | mtard
    config.objective = objective
    config.epsilon = "8/255"  # L∞ radius
    config.step_size = step_size  # of one attack iteration
    config.steps = steps  # attack iterations
    config.start = "own"  # own (as the method was published) | uniform | gaussian (0.001·N(0,1)) | none
    # BatchNorm mode during the attack: eval | train_frozen (batch statistics) | train (they also move the running
    # ones: ard, iad_1, iad_2, akd2 as published) | own (as the method was published)
    config.attack_bn = "eval"
    for name, coefficients in methods().items():
        config[name] = coefficients
    return config


def methods() -> dict[str, ConfigDict]:
    """Coefficients of the adversarial methods that have some, as published.

    Divergences sum over the classes. `kl_scale` multiplies them: the code of ard averages over K classes, so 1/K; that
    of rslad and mtard as well, but multiplies by 10 where K = 100, so 1/10 always.
    """
    return {
        "trades": ConfigDict({"beta": 6.0}),  # weight of the robust term
        "mart": ConfigDict({"beta": 6.0}),  # weight of the robust term
        "score": ConfigDict({
            "beta": 5.0,  # weight of the robust term; no published default
            "smoothing": 0.1,  # of the labels
        }),
        "ard": ConfigDict({
            "alpha": 1.0,  # share of the teacher; the rest is cross-entropy of clean images
            "temperature": 30.0,
            "kl_scale": 0.1,
        }),
        "rslad": ConfigDict({"kl_scale": 0.1}),
        "akd2": ConfigDict({
            "robust": 0.5,  # weight of the robust teacher
            "natural": 0.25,  # weight of the naturally trained one; the rest is cross-entropy
        }),
        "iad_1": ConfigDict({
            "alpha": 1.0,  # share of teacher and self; the rest is cross-entropy of clean images
            "beta": 0.1,  # power of the teacher's probability of the label, which says how far to trust it
            "temperature": 1.0,
            "first_epoch": 60,  # of 200, from which on the teacher may be distrusted; in fine-tuning 0
        }),
        "iad_2": ConfigDict({"robust": 0.5, "natural": 0.25, "beta": 0.1, "first_epoch": 40}),  # as akd2 and iad_1
        "mtard": ConfigDict({
            "rate": 0.025,  # of the teachers' weights; falls with the learning rate
            "kl_scale": 0.1,
        }),
    }  # fmt: skip


def stage_objective(config: ConfigDict, stage: ConfigDict) -> None:
    """Adds the keys of the joint objective to the section of a stage; each starts as the value all stages share."""
    stage.objective = config.adversarial.get_oneway_ref("objective")
    stage.gamma = config.get_oneway_ref("gamma")
    stage.kl_weight = config.get_oneway_ref("kl_weight")
    stage.step_size = config.adversarial.get_oneway_ref("step_size")
    stage.start = config.adversarial.get_oneway_ref("start")
    stage.attack_bn = config.adversarial.get_oneway_ref("attack_bn")
    stage.bn_update = config.get_oneway_ref("bn_update")
    stage.clean_pass = False  # run clean images although no loss term needs them: they move the statistics too


def network_options(stage: ConfigDict) -> None:
    """Adds what only training of the final network uses."""
    stage.auxiliary = 0.0  # weight of the auxiliary head's loss, on clean images; 0: no head (stacked cells only)
    stage.cutout = 0  # side of the square that augmentation blanks, pixels; 0: none
    stage.drop_path = 0.0  # probability of dropping a path, at the last epoch; grows linearly (stacked cells only)


def baseline_perturbation() -> ConfigDict:
    """Perturbed weights of the baselines `pgd_at_awp` and `trades_awp`, as published (arXiv 2004.05884)."""
    config = ConfigDict()
    config.pgd_at = perturbation()
    config.pgd_at.gamma = 0.01
    config.trades = perturbation()
    config.trades.gamma = 0.005
    config.trades.first_epoch = 10
    return config


def perturbation() -> ConfigDict:
    """Adversarial weight perturbation (AWP) around any objective."""
    config = ConfigDict()
    config.gamma = 0.0  # of a kernel's norm; published: 0.01 with pgd_at, 0.005 with trades; 0: none
    config.first_epoch = 0  # published: 0 with pgd_at, 10 with trades; in fine-tuning always 0
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
    return config


def temperature() -> ConfigDict:
    """Temperature of the Gumbel-softmax, max(start·exp(−decay·epoch), min)."""
    config = ConfigDict()
    config.start = 5.0
    config.decay = 0.045  # per epoch
    config.min = 0.0
    return config


def teacher() -> ConfigDict:
    """The robust teacher: a directory, or how to train one. Some methods ask a second, naturally trained one too."""
    config = ConfigDict()
    config.path = ""  # a teacher directory; empty: train one here
    config.natural_path = ""  # the same for the second teacher, which is trained like the first but without attack
    config.architecture = "wide_resnet_34_10"  # of the teachers trained here
    config.objective = "pgd_at"  # pgd_at | trades | mart | score | none
    config.steps = 10  # attack iterations; radius and step are those of `adversarial`
    config.epochs = 200
    config.batch_size = 128  # over all devices
    config.optimizer = optimizer("sgd", 0.1, 5e-4)
    config.perturbation = perturbation()  # of the weights; not of the naturally trained teacher's
    config.weight_average = 0.0  # decay per step of a moving average, which is then the teacher; 0: none
    config.cache = cache = ConfigDict()  # of what it says of the training images, in place of asking in every step
    # Augmentations of each image, cycled over the epochs, which baselines without a teacher see as well; 0: no cache, new
    # augmentations every epoch.
    cache.views = 0
    cache.dir = ""  # may be shared by runs of one teacher, data, augmentation and seed; empty: WORKDIR/teacher_cache
    cache.resident_gib = 2.0  # kept on every device up to this size, GiB; else read from disk while training
    return config


def finetune(recipe: ConfigDict) -> ConfigDict:
    """TRADES, or another method, after training, with the distilling terms kept."""
    config = ConfigDict()
    config.epochs = 0  # 0: none
    config.objective = "trades"  # as adversarial.objective
    config.optimizer = recipe
    return config


def validation() -> ConfigDict:
    """Scores on held-out training images, which choose checkpoints."""
    config = ConfigDict()
    config.every_epochs = 5
    config.first_epoch = 0  # no score before this epoch of a stage that trains a fixed network
    config.count = 1000  # images at most
    config.steps = 20  # PGD iterations
    return config


def evaluation() -> ConfigDict:
    """Attacks on the test set, once."""
    config = ConfigDict()
    config.count = 0  # first images of the test set; 0: all
    config.batch_size = 250  # over all devices
    config.epsilons = ("8/255", "2/255")  # the first is the headline; steps scale with it
    config.pgd_100_restarts = 5
    config.curve = ("0", "1/255", "2/255", "4/255", "6/255", "8/255", "10/255", "12/255", "16/255")
    config.last = False  # also judge the student of the last epoch, beside the one that held-out images chose
    config.auto_attack = ()  # models that AutoAttack judges too, at the headline radius: student, teacher, baseline_…
    return config


def on_digits(config: ConfigDict) -> None:
    """Changes `config` to 8×8 handwritten digits, with a teacher that two CPU cores train in half a minute."""
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

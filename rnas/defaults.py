"""Every configuration key of an RNAS-CL run, its default and its unit.

Experiment files under `configs/` start from `get_config()` and change what they need. Radii and step sizes are
strings such as '8/255', in units of pixels scaled to [0, 1].
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def _optimizer(name: str, learning_rate: float, l2: float) -> ConfigDict:
    config = ConfigDict()
    config.name = name  # adam (0.9, 0.999) | sgd
    config.learning_rate = learning_rate  # of the first step
    config.l2 = l2  # coupled decay, added to the gradient of every parameter
    config.momentum = 0.9  # sgd only
    config.schedule = "cosine"  # cosine | step | constant, advancing every step
    config.final_factor = 4e-5  # cosine: last rate over first rate
    config.milestones = ()  # step: epochs at which the rate is multiplied by 0.1
    return config


def get_config() -> ConfigDict:
    """The CIFAR-10 recipe of RNAS-CL with the joint adversarial objective."""
    config = ConfigDict()
    config.seed = 0  # of everything random

    config.data = data = ConfigDict()
    data.name = "cifar10"  # a TFDS image-classification set, or `digits`
    data.dir = ""  # TFDS data directory; empty: ~/tensorflow_datasets, or the user cache for digits
    data.image_shape = (32, 32, 3)  # pixels, pixels, channels
    data.num_classes = 10
    data.class_ids = ()  # keep only these classes, renumbered in this order; empty: all
    data.held_out = 5000  # training images, equal numbers a class, that choose models and never train
    data.crop_padding = 4  # pixels of zero padding before a random crop
    data.flip = True  # mirror half of the training images
    data.mean = (0.491, 0.482, 0.447)  # normalisation inside the model, pixels in [0, 1]
    data.std = (0.247, 0.243, 0.262)
    data.streaming = False  # True: decode on the host while training (sets that do not fit in memory)

    # Student.
    config.space = "s3"  # tiny | s1 | s3 | s5 | s7 | m | l | imagenet
    config.mask_expansion = True  # expanded channels follow the chosen input width
    config.shortcut = "aligned"  # aligned | equal_only
    config.conv_bias = True
    config.bn_momentum = 0.99  # running statistics; 0.997 with objective `none`, see configs
    config.bn_update = "both"  # both | clean | adversarial: passes that move the running statistics
    config.dtype = "float32"  # float32 | bfloat16: compute type of student and teacher

    # Joint objective, in search and in training: A + kl_weight·KL + gamma·L_attn.
    config.gamma = 1.0  # weight of cross-layer distillation
    config.kl_weight = 1.0  # weight of KL(teacher ‖ student) on clean images
    config.adversarial = adversarial = ConfigDict()
    adversarial.objective = "trades"  # A: none | pgd_at | trades | mart | rslad
    adversarial.epsilon = "8/255"  # L∞ radius
    adversarial.step = "2/255"  # of one attack iteration
    adversarial.steps = 10  # attack iterations
    adversarial.beta = 6.0  # weight of the robust term in trades and mart
    adversarial.bn = "eval"  # eval | train_frozen | train: BatchNorm mode during the attack

    config.attention = attention = ConfigDict()
    attention.size = 14  # side of a resized attention map, pixels
    attention.reduction = "sum_layers"  # sum_layers | paper (divides by student taps × teacher taps)
    attention.normalise = "per_sample"  # per_sample | per_batch (released code)
    attention.input = "clean"  # clean | adversarial | both: student view that is compared

    config.selector = selector = ConfigDict()
    selector.hard = False  # straight-through one-hot samples
    config.tau = tau = ConfigDict()  # temperature of widths and tutors
    tau.start = 5.0
    tau.decay = 0.045  # per epoch
    tau.min = 0.0

    config.cost = cost = ConfigDict()  # n_f = alpha·beta·log(cost)
    cost.kind = "macs"  # macs | params | released
    cost.alpha = 0.2  # 0 switches the factor off
    cost.beta = 0.5
    config.budget = budget = ConfigDict()
    budget.mode = "none"  # none | soft (penalty in search) | hard (narrowing at derivation)
    budget.kind = "macs"  # macs | params
    budget.target = placeholder(float)  # in units of budget.kind
    budget.weight = 10.0  # of the soft penalty

    config.arch_fraction = 0.2  # share of each search epoch's steps that update the architecture
    config.arch_warmup_epochs = 0  # first epochs without architecture steps
    config.split = "shared"  # shared | disjoint: images of weight and architecture steps

    # Stages.
    config.teacher = teacher = ConfigDict()
    teacher.path = ""  # a teacher directory; empty: train one here
    teacher.architecture = "wide_resnet_34_10"  # of the teacher trained here
    teacher.objective = "pgd_at"  # pgd_at | trades | none
    teacher.steps = 10  # attack iterations; radius and step are those of `adversarial`
    teacher.epochs = 200
    teacher.batch_size = 128  # over all devices
    teacher.optimizer = _optimizer("sgd", 0.1, 5e-4)

    config.search = search = ConfigDict()
    search.epochs = 100
    search.batch_size = 256  # over all devices
    search.optimizer = _optimizer("adam", 0.004, 2e-4)  # weights
    search.arch_optimizer = _optimizer("adam", 0.1, 1e-4)  # width and tutor logits

    config.derive = derive = ConfigDict()
    derive.init = "fresh"  # fresh | supernet: weights that training starts from
    derive.tutor = "argmax"  # argmax | sampled (soft samples at temperature 0.055, released code)

    config.train = train = ConfigDict()
    train.epochs = 200
    train.batch_size = 256  # over all devices
    train.optimizer = _optimizer("adam", 0.004, 4e-5)

    config.finetune = finetune = ConfigDict()  # TRADES after training, cross-layer terms kept
    finetune.epochs = 0  # the paper's optional fine-tuning has 20
    finetune.optimizer = _optimizer("adam", 0.004, 4e-5)

    # The same student trained otherwise, for comparison: no_distillation (gamma = kl_weight = 0),
    # plain (also without attack).
    config.twins = ("no_distillation", "plain")

    # A stage may weigh the joint objective differently from the other.
    for stage in (search, train):
        stage.gamma = config.get_oneway_ref("gamma")
        stage.kl_weight = config.get_oneway_ref("kl_weight")
        stage.objective = adversarial.get_oneway_ref("objective")

    config.validation = validation = ConfigDict()  # on held-out training images
    validation.every_epochs = 5
    validation.count = 1000  # images at most
    validation.steps = 20  # PGD iterations

    config.evaluation = evaluation = ConfigDict()  # on the test set, once
    evaluation.count = 0  # first images of the test set; 0: all
    evaluation.batch_size = 250  # over all devices
    evaluation.epsilons = ("8/255", "2/255")  # the first is the headline; steps scale with it
    evaluation.pgd_100_restarts = 5
    evaluation.curve = ("0", "1/255", "2/255", "4/255", "6/255", "8/255", "10/255", "12/255", "16/255")

    config.log_every_steps = 20  # steps a dispatch; also how often metrics are recorded
    config.checkpoint_every_steps = 200
    return config

"""Every configuration key of making a table of adversarially trained cells, its default and its unit."""

from ml_collections import ConfigDict

from rnas.config.checks import check_allowed
from rnas.config.defaults import sections as common


def get_config() -> ConfigDict:
    """The protocol of NAS-RobBench-201 on CIFAR-10 (arXiv 2403.13134); the data set decides the network's size."""
    config = ConfigDict()
    config.system = "robbench"  # a table of adversarially trained cells
    config.archs = ()  # cells, by id, code or string; each stands for its class. Empty: all 6,466 classes
    config.seeds = (0, 1, 2)  # a network each, of initial weights, order of images, crops and attacks

    config.data = data = ConfigDict()
    data.name = "cifar10"  # cifar10 | cifar100 | digits
    data.dir = ""  # TFDS data directory; empty: ~/tensorflow_datasets, or the user cache for digits
    data.held_out = 0  # training images, equal numbers a class, that judge networks in place of the test set; 0: none
    data.train_count = 0  # training images to keep of the others, equal numbers a class; 0: all
    data.crop_padding = 4  # pixels of zero padding before a random crop
    data.flip = True  # mirror half of the training images
    data.mean = (0.4914, 0.4824, 0.4467)  # normalisation inside the model, pixels in [0, 1]
    data.std = (0.2471, 0.2435, 0.2616)  # of the same normalisation

    config.adversarial = adversarial = ConfigDict()  # the attack on every batch: uniform start, running statistics
    adversarial.epsilon = "8/255"  # L∞ radius
    adversarial.step_size = "2/255"  # of one attack iteration
    adversarial.steps = 7  # attack iterations

    config.train = train = ConfigDict()
    train.weights = "own"  # own | shared: one supernet a seed, of a uniformly drawn cell in each step
    train.calibration = 1000  # shared: training images from which BatchNorm takes the statistics of each cell
    train.epochs = 50  # of each network
    train.batch_size = 256  # over all devices
    train.side_by_side = 1  # cells trained in one program, each executing all operations; 1: only the chosen ones
    train.keep_weights = False  # keep those of every cell, as weights/<id>_seed<seed>.safetensors, for rnas.load
    train.optimizer = optimizer = common.optimizer(
        "sgd", 0.004, 5e-4, momentum=0.95, schedule="one_cycle", final_factor=1e-4
    )
    optimizer.cycle = cycle = ConfigDict()
    cycle.peak = 0.1  # highest rate
    cycle.momentum = 0.85  # at the highest rate; optimizer.momentum at the lowest ones
    cycle.rise = 0.3  # share of the steps until the peak

    config.evaluation = evaluation = ConfigDict()
    evaluation.count = 0  # first images of the test set; 0: all
    evaluation.batch_size = 250  # over all devices
    evaluation.auto_attack_seeds = (0,)  # networks of which seeds AutoAttack judges too

    config.log_every_steps = 20  # steps a dispatch; also how often metrics are recorded
    config.trackers = ("tensorboard",)  # where they are shown beside metrics.jsonl: tensorboard, wandb, mlflow, trackio
    config.checkpoint_every_steps = 500  # steps between two checkpoints
    return config


def check(config: ConfigDict) -> None:
    """The rules of this system that need no network; raises ValueError, see `sections.check`."""
    check_allowed(config, {"train.weights": ("own", "shared")})
    if config.train.weights == "shared" and config.train.side_by_side != 1:
        raise ValueError(f"train.side_by_side={config.train.side_by_side}: a supernet is trained by itself, use 1.")
    seeds = config.seeds
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ValueError(f"seeds={tuple(seeds)}: expected one or more different ones.")
    if unknown := set(config.evaluation.auto_attack_seeds) - set(seeds):
        raise ValueError(f"evaluation.auto_attack_seeds: {sorted(unknown)} are not among seeds={seeds}.")


VARIANTS = {
    # Cells are scored with the weights of a supernet, on images that are not the test's.
    "one_shot": {
        "seeds": (0,),
        "data.held_out": 5000,
        "train.weights": "shared",
        "evaluation.auto_attack_seeds": (),
    },
    # Two cells on few images, without AutoAttack: does all work here? Its figures mean nothing.
    "smoke": {
        "archs": ("333133", "132013"),
        "seeds": (0,),
        "data.train_count": 320,
        "train.epochs": 1,
        "train.batch_size": 64,
        "train.calibration": 320,
        "evaluation.auto_attack_seeds": (),
        "evaluation.count": 40,
        "evaluation.batch_size": 40,
    },
}

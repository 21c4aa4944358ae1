"""RNAS-CL on 8×8 handwritten digits: the whole pipeline in a few minutes on two CPU cores.

A WideResNet teacher is trained adversarially, the `tiny` space is searched under attack with cross-layer
distillation, and the derived network is trained with the joint objective beside two twins.
"""

from rnas import defaults


def get_config():
    config = defaults.get_config()
    data = config.data
    data.name = "digits"
    data.image_shape = (8, 8, 1)
    data.num_classes = 10
    data.held_out = 137
    data.crop_padding = 1
    data.flip = False
    data.mean = (0.305,)
    data.std = (0.376,)

    config.space = "tiny"
    config.attention.size = 8
    config.bn_momentum = 0.9
    config.adversarial.epsilon = "0.15"
    config.adversarial.step = "0.0375"
    config.adversarial.steps = 10

    config.teacher.architecture = "wide_resnet_10_2"
    config.teacher.epochs = 30
    config.teacher.batch_size = 65
    config.teacher.optimizer.learning_rate = 0.05
    config.teacher.optimizer.final_factor = 0.0

    config.search.epochs = 30
    config.search.batch_size = 65
    config.tau.decay = 0.15

    config.train.epochs = 60
    config.train.batch_size = 65

    config.validation.every_epochs = 5
    config.evaluation.batch_size = 120
    config.evaluation.epsilons = ("0.15", "0.05")
    config.evaluation.curve = ("0", "0.025", "0.05", "0.075", "0.1", "0.125", "0.15", "0.2", "0.25", "0.3")
    config.checkpoint_every_steps = 100
    return config

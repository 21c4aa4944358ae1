"""A teacher for Fashion-MNIST (28×28 grey) that is worth learning from, at ε = 0.1: a WideResNet-10-2.

  rnas teacher train --config=configs/teachers/fashion_mnist.py:two_steps --workdir=runs/fashion_teacher

trains it and prints what to do next. All training images but 1,000 held-out ones train it: 460 steps an epoch, with a
moving average of the weights. At 8/255 a plainly trained teacher of one epoch does; 0.1 tells robust networks apart.

Variants; without one, PGD-5 with perturbed weights (AWP), 20 epochs:
  two_steps   PGD-2 without AWP, 6 epochs
  one_step    FGSM with a random start and steps of 1.25·ε (arXiv 2001.03994), 10 epochs; stops where it overfits to its
              own attack (validation.collapse)
  smoke       few images, one epoch, within three minutes on two CPU cores: does all work here?

Cost: 7 gradients an image and epoch, `two_steps` 3, `one_step` 2. A step of 128 images takes 2.1, 1.2 and 0.83 s of one
CPU core that other work used too: 5.4 hours, 55 and 64 minutes of processor time, compilation and scores apart.
Expect of `two_steps` (seed 0, one run): 85.6 % of the first 1,000 test images, 75.6 % under PGD-20 with steps of ε/10;
AutoAttack not run. Its weights, in half precision, come with rnas: teacher.path=shipped:fashion_mnist. The other
variants are not measured.
"""

from rnas.config import with_variants
from rnas.config.defaults import rnas_cl
from rnas.config.defaults import sections as common

SHORT = {"teacher.perturbation.gamma": 0.0, "validation.count": 500}
VARIANTS = {
    "two_steps": {**SHORT, "teacher.epochs": 6, "teacher.steps": 2, "teacher.step_size": "0.07"},
    "one_step": {**SHORT, "teacher.epochs": 10, "teacher.steps": 1, "teacher.step_size": "0.125"},
    "smoke": rnas_cl.SMOKE,
}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    common.on_fashion_mnist(config)
    config.data.held_out = 1000

    config.adversarial.epsilon = "0.1"
    config.adversarial.step_size = "0.025"
    teacher = config.teacher
    teacher.architecture = "wide_resnet_10_2"
    teacher.steps = 5
    teacher.step_size = "0.035"
    teacher.epochs = 20
    teacher.optimizer.learning_rate = 0.1
    teacher.optimizer.final_factor = 0.0
    teacher.perturbation.gamma = 0.005
    teacher.weight_average = 0.995
    config.validation.every_epochs = 1
    config.evaluation.epsilons = ("0.1",)
    config.evaluation.curve = ("0", "0.025", "0.05", "0.075", "0.1", "0.125", "0.15", "0.2")
    return with_variants(config, VARIANTS, argument)

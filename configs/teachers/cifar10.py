"""A teacher for CIFAR-10 that is worth learning from, at ε = 8/255: a ResNet-18 trained by PGD-10.

  rnas teacher train --config=configs/teachers/cifar10.py --workdir=runs/cifar10_teacher

trains it and prints what to do next. It has perturbed weights (AWP, arXiv 2004.05884) and a moving average of the
weights. Published networks are stronger still; docs/teachers.md shows how to import one.

Variants, joined by commas:
  wide    a WideResNet-34-10, the architecture of the RNAS-CL paper's teacher
  smoke   few images, one epoch, within three minutes on two CPU cores: does all work here?
  short   a WideResNet-10-2, PGD-2 without AWP, 10 epochs, for two CPU cores

Cost: ResNet-18 0.56 GMACs an image and pass, WideResNet-34-10 6.7, times about 3 for each of 12 gradients; 60 epochs of
351 steps. Meant for an accelerator. Not run.
Expect: not measured. Published with 200 epochs and AWP (WideResNet-34-10): 85.4 % clean, 56.2 % under AutoAttack.
"""

from rnas.config import with_variants
from rnas.config.defaults import rnas_cl

VARIANTS = {
    "wide": {"teacher.architecture": "wide_resnet_34_10"},
    "short": {
        "data.held_out": 1000,
        "teacher.architecture": "wide_resnet_10_2",
        "teacher.steps": 2,
        "teacher.step_size": "6/255",
        "teacher.epochs": 10,
        "teacher.perturbation.gamma": 0.0,
        "validation.count": 500,
    },
    "smoke": rnas_cl.SMOKE,
}


def get_config(argument: str = ""):
    config = rnas_cl.get_config()
    teacher = config.teacher
    teacher.architecture = "resnet18"
    teacher.steps = 10
    teacher.step_size = "2/255"
    teacher.epochs = 60
    teacher.optimizer.learning_rate = 0.1
    teacher.optimizer.final_factor = 0.0
    teacher.perturbation.gamma = 0.01
    teacher.weight_average = 0.995
    config.validation.every_epochs = 1
    return with_variants(config, VARIANTS, argument)

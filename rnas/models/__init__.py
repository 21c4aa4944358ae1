"""Fixed networks: teachers and baselines. Each returns `(logits, out)`, `out` naming intermediate outputs."""

from rnas.models.deepmind import DMPreActResNet, DMWideResNet, RaWideResNet
from rnas.models.nasbench201_network import NASBench201
from rnas.models.preact_resnet import PreActResNet
from rnas.models.registry import build_model
from rnas.models.resnet import ImageNetResNet, ResNet
from rnas.models.wide_resnet import WideResNet

__all__ = [
    "DMPreActResNet",
    "DMWideResNet",
    "ImageNetResNet",
    "NASBench201",
    "PreActResNet",
    "RaWideResNet",
    "ResNet",
    "WideResNet",
    "build_model",
]

"""Networks: teachers and baselines, and those of the search spaces.

Each returns `(logits, out)`; `out` names intermediate outputs, in the order of `taps`.
"""

from rnas.models.cell_network import CellNetwork, CellSupernet
from rnas.models.deepmind import DMPreActResNet, DMWideResNet, RaWideResNet
from rnas.models.model_names import build_model
from rnas.models.nasbench201_network import NASBench201, NASBench201Supernet
from rnas.models.preact_resnet import PreActResNet
from rnas.models.resnet import ImageNetResNet, ResNet
from rnas.models.wide_resnet import WideResNet
from rnas.models.width_network import FBNet

__all__ = [
    "CellNetwork",
    "CellSupernet",
    "DMPreActResNet",
    "DMWideResNet",
    "FBNet",
    "ImageNetResNet",
    "NASBench201",
    "NASBench201Supernet",
    "PreActResNet",
    "RaWideResNet",
    "ResNet",
    "WideResNet",
    "build_model",
]

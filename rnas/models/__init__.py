"""Networks: teachers and baselines, and those of the search spaces.

Each returns `(logits, out)`; `out` names intermediate outputs, in the order of `taps`.
"""

from rnas.models.cell_network import CellNetwork, CellSupernet
from rnas.models.deepmind import DMPreActResNet, DMWideResNet, RaWideResNet
from rnas.models.image_classifier import ImageClassifier
from rnas.models.model_names import build_model
from rnas.models.nasbench201_network import NASBench201, NASBench201Supernet
from rnas.models.preact_resnet import PreActResNet, WideResNet
from rnas.models.resnet import ImageNetResNet, ResNet
from rnas.models.width_network import FBNet

__all__ = [
    "CellNetwork",
    "CellSupernet",
    "DMPreActResNet",
    "DMWideResNet",
    "FBNet",
    "ImageClassifier",
    "ImageNetResNet",
    "NASBench201",
    "NASBench201Supernet",
    "PreActResNet",
    "RaWideResNet",
    "ResNet",
    "WideResNet",
    "build_model",
]

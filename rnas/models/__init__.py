"""Fixed networks: teachers and baselines. Each returns `(logits, out)`, `out` naming intermediate outputs."""

from rnas.models.nasbench201 import NASBench201
from rnas.models.preact_resnet import PreActResNet
from rnas.models.registry import build_model
from rnas.models.resnet import ResNet
from rnas.models.wide_resnet import WideResNet

__all__ = ["NASBench201", "PreActResNet", "ResNet", "WideResNet", "build_model"]

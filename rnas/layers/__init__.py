"""Flax modules shared by all networks."""

from rnas.layers.activation import hswish
from rnas.layers.batch_norm import BatchNorm, ConvBatchNorm
from rnas.layers.convolution import Conv, convolve
from rnas.layers.counting import Count, count
from rnas.layers.normalize import Normalize
from rnas.layers.squeeze import SqueezeExcite

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvBatchNorm",
    "Count",
    "Normalize",
    "SqueezeExcite",
    "convolve",
    "count",
    "hswish",
]

"""Flax modules shared by all networks."""

from rnas.layers.activation import hswish
from rnas.layers.batch_norm import BatchNorm, ConvBatchNorm
from rnas.layers.convolution import Conv, convolve
from rnas.layers.counting import Count, count
from rnas.layers.drop_path import drop_path
from rnas.layers.factorized_reduction import FactorizedReduction
from rnas.layers.normalize import Normalize
from rnas.layers.pooling import average_pool, max_pool
from rnas.layers.separable_conv import SeparableConv
from rnas.layers.squeeze import SqueezeExcite

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvBatchNorm",
    "Count",
    "FactorizedReduction",
    "Normalize",
    "SeparableConv",
    "average_pool",
    "SqueezeExcite",
    "convolve",
    "count",
    "drop_path",
    "hswish",
    "max_pool",
]

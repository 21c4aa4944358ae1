"""Flax modules shared by all networks."""

from rnas.layers.activation import hswish
from rnas.layers.batch_norm import BatchNorm, ConvBatchNorm
from rnas.layers.cell_layers import FactorizedReduction, SeparableConv, drop_path
from rnas.layers.convolution import Conv, convolve
from rnas.layers.counting import Count, count
from rnas.layers.normalize import Normalize
from rnas.layers.pooling import average_pool, max_pool
from rnas.layers.squeeze import SqueezeExcite

"""Flax modules shared by all networks."""

from rnas.layers.activation import hswish
from rnas.layers.batch_norm import BatchNorm
from rnas.layers.batch_norm import ConvBatchNorm
from rnas.layers.convolution import Conv
from rnas.layers.convolution import convolve
from rnas.layers.counting import Count
from rnas.layers.counting import count
from rnas.layers.normalize import Normalize

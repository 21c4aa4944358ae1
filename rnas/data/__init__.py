"""Datasets, the order of their images, and what is done to them on the way into a model."""

from rnas.data.augment import random_crop, random_flip, to_float
from rnas.data.datasets import Dataset, Split, load_dataset
from rnas.data.order import Order

__all__ = ["Dataset", "Order", "Split", "load_dataset", "random_crop", "random_flip", "to_float"]

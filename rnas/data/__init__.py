"""Datasets, the order of their images, and what is done to them on the way into a model."""

from rnas.data.datasets import Dataset, Split, load_dataset
from rnas.data.sampler import Sampler
from rnas.steps.augmentation import random_crop, random_flip, to_float

__all__ = ["Dataset", "Sampler", "Split", "load_dataset", "random_crop", "random_flip", "to_float"]

"""Datasets, held in memory or streamed, and the order of their images."""

from rnas.data.datasets import Dataset, Split, load_dataset
from rnas.data.sampler import Sampler

__all__ = ["Dataset", "Sampler", "Split", "load_dataset"]

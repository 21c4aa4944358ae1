"""The table of NAS-RobBench-201: queries, ranks, correlations, and search algorithms simulated on it."""

from rnas.tabular.ranks import best_share, correlate, count_operations, ranking, stratified_sample, summarize
from rnas.tabular.reading import load_robbench
from rnas.tabular.simulation import Simulation, expected_best, hypervolume, simulate
from rnas.tabular.table import RobBench

__all__ = [
    "RobBench",
    "Simulation",
    "best_share",
    "correlate",
    "count_operations",
    "expected_best",
    "hypervolume",
    "load_robbench",
    "ranking",
    "simulate",
    "stratified_sample",
    "summarize",
]

"""`latency.json`: how long the networks of a run take where they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from rnas.artifacts.record import Count, Number, Record, Size, one_of

FILE = "latency.json"
RUNTIMES = ("jax", "onnxruntime")


@dataclass(frozen=True)
class Timing(Record):
    """Milliseconds of one call: the median of `calls`, and their quartiles."""

    median: Number
    low: Number  # a quarter of the calls took at most so long
    high: Number  # three quarters
    calls: Size


@dataclass(frozen=True)
class NetworkTiming(Record):
    """A network on one runtime, a batch at a time."""

    beside = ("timing",)

    network: str  # as `rnas describe` names it, such as 'student'
    runtime: Annotated[str, one_of(*RUNTIMES)]
    macs: Count  # multiply-accumulates of an image, which tell this network from a later one of the same name
    batch: Size  # images of a call
    timing: Timing


@dataclass(frozen=True)
class Latency(Record):
    """The content of `latency.json`."""

    format = 1
    remedy = "Measure again: rnas describe --workdir=DIR --latency."

    device: str  # of JAX; onnxruntime runs on the CPU
    processor: str
    threads: Size  # that each runtime may use on the CPU
    networks: tuple[NetworkTiming, ...]
    versions: Mapping[str, str]

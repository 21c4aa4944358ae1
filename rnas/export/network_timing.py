"""How long the networks of a run take here, in JAX and as ONNX files in onnxruntime, at batch 1 and 128."""

from collections.abc import Mapping
import contextlib
from functools import partial
from importlib import metadata, util

import flax.linen as nn
import numpy as np

from rnas.artifacts.latency import Latency, NetworkTiming
from rnas.artifacts.run_record import versions
from rnas.attacks.batching import cores
from rnas.evaluation.onnx_file import OnnxFile
from rnas.export.onnx_model import onnx_model
from rnas.export.traced_program import read_graph
from rnas.layers.counting import count
from rnas.runs.timing import example_variables, machine, time_network, timed

BATCHES = (1, 128)
EXTRA = ("onnx", "onnxruntime")  # packages of the extra `export`

Shape = tuple[int, int, int]


def time_networks(networks: Mapping[str, nn.Module], image_shape: Shape, seconds: float = 2.0) -> Latency:
    """Times networks by name; onnxruntime where it is installed.

    Args:
      image_shape: [H, W, C] of all.
      seconds: about, of each network, runtime and batch.
    """
    found: list[NetworkTiming] = []
    has_runtime = all(util.find_spec(package) for package in EXTRA)
    for name, network in networks.items():
        macs = count(network, image_shape).macs
        for batch in BATCHES:
            found.append(NetworkTiming(name, "jax", macs, batch, time_network(network, image_shape, batch, seconds)))
        if not has_runtime:
            continue
        file = OnnxFile(_content(network, image_shape), f"the ONNX file of {name}", cores())
        for batch in BATCHES:
            images = np.random.default_rng(0).random((batch, *image_shape), np.float32)
            found.append(NetworkTiming(name, "onnxruntime", macs, batch, timed(partial(file.logits, images), seconds)))
    used = versions()
    for package in EXTRA:
        with contextlib.suppress(metadata.PackageNotFoundError):
            used[package] = metadata.version(package)
    return Latency(**machine(), networks=tuple(found), versions=used)


def _content(network: nn.Module, image_shape: Shape) -> bytes:
    variables = example_variables(network, (1, *image_shape))
    graph = read_graph(
        lambda variables, images: network.apply(variables, images, train=False)[0], variables, image_shape
    )
    return onnx_model(graph, "timed", {}).SerializeToString()

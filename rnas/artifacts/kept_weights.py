"""`weights/<id>_seed<seed>.safetensors`: the weights of a table's networks, where `train.keep_weights` wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from rnas.artifacts.files import write_bytes
from rnas.artifacts.table_results import Network

FOLDER, ENDING = "weights", ".safetensors"


def weights_file(workdir: Path, network: Network) -> Path:
    """The file that holds the weights of a network."""
    return workdir / FOLDER / f"{network.name}{ENDING}"


def kept_networks(workdir: Path) -> dict[str, Network]:
    """The networks whose weights were kept, by their names."""
    names = sorted(path.name.removesuffix(ENDING) for path in (workdir / FOLDER).glob(f"[0-9]*_seed[0-9]*{ENDING}"))
    return {name: Network(*map(int, name.split("_seed"))) for name in names}


def write_weights(path: Path, variables: Mapping[str, Any], about: Mapping[str, str]) -> None:
    """Writes Flax variables by the parts of their paths joined by '/', with a few words about them."""
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in flatten_dict(dict(variables), sep="/").items()}
    write_bytes(path, save(arrays, {"format": "flax", **about}))


def read_weights(path: Path) -> dict[str, Any]:
    """The Flax variables of a file; raises ValueError where it cannot be read."""
    try:
        return unflatten_dict(load_file(path), sep="/")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): restore it from a copy, or train the cell again."
        ) from error

"""The networks of a table whose weights were kept, as evaluated models."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp

from rnas.artifacts.kept_weights import kept_networks, read_weights, weights_file, write_weights
from rnas.artifacts.table_results import Network
from rnas.evaluation import EvaluatedModel
from rnas.layers.counting import count
from rnas.models.nasbench201_network import NASBench201, fixed_variables
from rnas.runs.run import predict
from rnas.runs.table_run import TableRun
from rnas.spaces import nasbench201
from rnas.teachers import content_hash


def keep_weights(run: TableRun, network: Network, variables) -> None:
    """Writes the weights of a network that was trained: those of its own operations alone."""
    about = {"code": nasbench201.to_code(network.id), "cell": nasbench201.to_string(network.id)}
    about |= {"seed": str(network.seed), "protocol": json.dumps(run.protocol)}
    write_weights(weights_file(run.workdir, network), fixed_variables(variables, network.id), about)


def evaluated_cell(run: TableRun, name: str) -> EvaluatedModel:
    """A network of a table by its name, such as 9930_seed0.

    Raises ValueError where its weights were not kept, or the file does not hold them.
    """
    kept = kept_networks(run.workdir)
    if name not in kept:
        some = ", ".join(list(kept)[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        held = f"it has those of {some}" if kept else "train a table with --config.train.keep_weights=True to have them"
        raise ValueError(f"{run.workdir} is a table, and holds no weights of a network {name!r}; {held}.")
    network: NASBench201 = run.network.clone(arch=kept[name].id, axis_name=None)
    path, task = weights_file(run.workdir, kept[name]), run.task
    variables, shape = read_weights(path), (task.image_size, task.image_size, task.inputs)
    expected = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), dict(tree)) for tree in (variables, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{path} does not hold the weights of cell {kept[name].id}: was it renamed?")
    code = nasbench201.to_code(kept[name].id)
    return EvaluatedModel(
        predict=predict(network), variables=variables, num_classes=task.num_classes, name=name,
        hash=content_hash(variables), kind="cell", label=f"Cell {code}", source=str(run.workdir), architecture=code,
        network=network, **count(network, shape)._asdict(),
    )  # fmt: skip

"""The network of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326), of one architecture or of any.

Fixed, it holds the convolutions of its architecture alone. Traced, it holds those of every architecture and takes at
each call an array that names the one to run: one compiled program serves all 15,625. Given shares instead, it runs the
mixture of all operations, of which a search by gradients moves the shares. A parameter has the same path in all three,
and its first value depends on nothing but the key and that path.
"""

from collections.abc import Mapping
import functools
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from rnas.layers import Conv, ConvBatchNorm, Normalize
from rnas.layers.cell_layers import UNIFORM_FAN_IN, classify
from rnas.models.image_classifier import ImageClassifier, Make, Output
from rnas.spaces import nasbench201
from rnas.spaces.nasbench201 import EDGES, OPERATIONS, Arch


class Edge(nn.Module):
    """One edge of a cell: what `OPERATIONS` names, with ReLU before a convolution and BatchNorm after it.

    `features` are the channels C, the same before and after; `conv_norm` makes a normalised convolution.
    """

    features: int
    conv_norm: Make

    def setup(self):
        self.nor_conv_1x1 = self.conv_norm(self.features, 1)
        self.nor_conv_3x3 = self.conv_norm(self.features, 3)

    def __call__(self, x: jax.Array, operation: int | jax.Array, *, train: bool) -> jax.Array:
        """Returns the operation's result [N, h, w, C] on `x` [N, h, w, C], the node where the edge begins.

        `operation` is an index into `OPERATIONS`, a Python integer or a traced scalar. Of a traced one only the chosen
        branch is executed, unless it is mapped by `jax.vmap`: then all are. Or it is a share of each operation, [5].
        """
        by_name = {
            "none": lambda edge, x: jnp.zeros_like(x),
            "skip_connect": lambda edge, x: x,
            "nor_conv_1x1": lambda edge, x: edge.nor_conv_1x1(nn.relu(x), train=train),
            "nor_conv_3x3": lambda edge, x: edge.nor_conv_3x3(nn.relu(x), train=train),
            "avg_pool_3x3": lambda edge, x: nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False),
        }
        branches = [by_name[name] for name in OPERATIONS]
        if isinstance(operation, int):
            return branches[operation](self, x)
        if jnp.ndim(operation):
            mixed = [operation[i].astype(x.dtype) * branch(self, x) for i, branch in enumerate(branches)]
            return sum(mixed[1:], start=mixed[0])
        if self.is_initializing():  # every branch makes its variables
            return jnp.stack([branch(self, x) for branch in branches])[operation]
        # Every branch fills with zeros what another keeps for its gradient; so each keeps its input alone.
        return nn.switch(operation, [nn.remat(branch, prevent_cse=False) for branch in branches], self, x)


class Cell(nn.Module):
    """Four nodes; each but the first is the sum of its incoming edges, the last is the result; attributes as `Edge`."""

    features: int
    conv_norm: Make

    @nn.compact
    def __call__(self, x: jax.Array, encoding: tuple[int, ...] | jax.Array, *, train: bool) -> jax.Array:
        """Returns the last node [N, h, w, C] of the cell whose first is `x`; `encoding` as the network takes it."""
        nodes: list[Any] = [x]
        for node in (1, 2, 3):
            incoming = [
                Edge(self.features, self.conv_norm, name=f"edge{source}{node}")(
                    nodes[source], encoding[EDGES.index((source, node))], train=train
                )
                for source in range(node)
            ]
            nodes.append(sum(incoming))
        return nodes[-1]


class Reduction(nn.Module):
    """Residual block that halves the image: two 3x3 convolutions beside an average and a 1x1 convolution."""

    features: int
    conv: Make
    conv_norm: Make

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns the sum [N, H/2, W/2, features], from `x` [N, H, W, C]."""
        y = self.conv_norm(self.features, 3, 2, name="conv1")(nn.relu(x), train=train)
        y = self.conv_norm(self.features, 3, name="conv2")(nn.relu(y), train=train)
        return y + self.conv(self.features, 1, name="shortcut")(nn.avg_pool(x, (2, 2), (2, 2)))


class NASBench201(ImageClassifier, kw_only=True):
    """Stem, three stages of equal cells with a residual reduction between them, mean over the image, classifier.

    With an `axis_name`, all replicas of a traced network must run the same architecture: within different branches they
    would wait for each other.

    Attributes:
      arch: the architecture in any form of `rnas.spaces.nasbench201`; None for the traced network.
      channels: of the first stage; each further one has twice as many.
      cells: in a stage.
    """

    arch: Arch | None = None
    channels: int = nasbench201.CHANNELS
    cells: int = nasbench201.CELLS

    @property
    def taps(self) -> tuple[str, ...]:
        return nasbench201.taps(self.cells)

    @nn.compact
    def __call__(self, images: jax.Array, encoding: jax.Array | None = None, *, train: bool = False) -> Output:
        """Returns logits and taps; H and W of the images are multiples of 4.

        `encoding`, for the traced network alone, has the operation index of each edge [6], or shares of the operations
        on each edge [6, 5].

        Raises:
          ValueError: an encoding for a fixed network, none for a traced one, images that cannot be halved twice.
        """
        if (self.arch is None) == (encoding is None):
            raise ValueError(
                "a network built with arch=… takes no encoding; one built without needs encoding=…, the six operation "
                "indices of the architecture to run."
            )
        for side in images.shape[1:3]:
            nasbench201.check_image_size(side)
        operations: Any = nasbench201.encode(self.arch) if self.arch is not None else jnp.asarray(encoding)
        if len(operations) != len(EDGES):
            raise ValueError(f"encoding of length {len(operations)}: expected {len(EDGES)} operation indices.")
        conv: Make = functools.partial(Conv, dtype=self.dtype, kernel_init=UNIFORM_FAN_IN)
        conv_norm: Make = functools.partial(ConvBatchNorm, **self.normalisation, kernel_init=UNIFORM_FAN_IN)
        x = conv_norm(self.channels, name="stem")(Normalize(self.mean, self.std)(images), train=train)
        out = {"stem": x}
        for name, width in nasbench201.blocks(self.channels, self.cells):
            if name.startswith("reduction"):
                x = Reduction(width, conv, conv_norm, name=name)(x, train=train)
            else:
                x = Cell(width, conv_norm, name=name)(x, operations, train=train)
            out[name] = x
        x = nn.relu(self.norm(name="norm")(x, train=train))
        return classify(x, self.num_classes), out


class NASBench201Supernet(NASBench201, kw_only=True):
    """The network of a search by gradients: on every edge the mixture of all operations (arXiv 1806.09055, eq. 2).

    Its variables are those of the traced network, which can run any cell with them.
    """

    def __call__(  # type: ignore[override]
        self, images: jax.Array, probabilities: Mapping[str, jax.Array], *, train: bool = False
    ) -> Output:
        """As `NASBench201`, with `probabilities` {'cell': [6, 5]}, shares of the operations on each edge."""
        nasbench201.EDGE_SPACE.check(probabilities)
        return super().__call__(images, probabilities["cell"], train=train)


# -- which variables of the traced network belong to one of its cells ------------------------------------


def _place(path: tuple[str, ...]) -> tuple[int, int] | None:
    """(index of the edge, of the operation) that a variable's path leads through; None outside of edges."""
    names = [f"edge{source}{target}" for source, target in EDGES]
    for edge, part in zip(path, path[1:], strict=False):
        if edge in names:
            return names.index(edge), OPERATIONS.index(part)
    return None


def used_parameters(params: Mapping[str, Any], encoding: jax.Array) -> dict[str, Any]:
    """Marks which parameters of the traced network an architecture uses; `encoding` [6] is traced or not.

    Returns a boolean scalar for each parameter, in their structure: whether it belongs to an operation that was chosen,
    or to no edge at all.
    """
    chosen = [encoding[edge] for edge in range(len(EDGES))]
    places = {path: _place(path) for path in flatten_dict(dict(params))}
    used = {path: chosen[at[0]] == at[1] if at else jnp.bool_(True) for path, at in places.items()}
    return unflatten_dict(used)


def fixed_variables(variables: Mapping[str, Any], arch: Arch) -> dict[str, Any]:
    """Takes the variables of the fixed network of `arch` out of those of the traced one."""
    chosen = {None, *enumerate(nasbench201.encode(arch))}
    flat = flatten_dict(dict(variables))
    return unflatten_dict({path: leaf for path, leaf in flat.items() if _place(path) in chosen})

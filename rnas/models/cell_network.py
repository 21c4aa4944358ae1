"""Networks of the cell spaces: the supernet of a search, and the network of a genotype.

A cell has two input states, the outputs of the two cells before it, each brought to C channels by ReLU, 1x1
convolution and batch normalisation. Each of its four nodes sums operations on earlier states, and their
concatenation is its output (DARTS, arXiv 1806.09055; DSARA, arXiv 2212.14049).
"""

from collections.abc import Callable, Mapping
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers import Conv, Normalize, average_pool
from rnas.layers.cell_layers import UNIFORM_FAN_IN, classify
from rnas.models.cell import DropPath, FixedCell, MixedCell
from rnas.models.image_classifier import ImageClassifier, Make, Output
from rnas.spaces.cell_space import CONCAT, STEM, CellSpace, Genotype, get_space


class AuxiliaryHead(nn.Module):
    """A second classifier, after the second reduction, that helps training and is gone afterwards (DARTS).

    Its last convolution covers all that pooling leaves of the image: 2x2 pixels of 8x8, 4x4 of 16x16.
    """

    num_classes: int
    conv: Make
    norm: Make

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [N, num_classes], float32, from `x` [N, H, H, C]; another shape, or H < 8, is a ValueError."""
        height, width = x.shape[1:3]
        if height != width or height < 8:
            raise ValueError(
                f"the auxiliary head needs square images, 8x8 at least after the second reduction, got "
                f"{height}x{width}; use images of 32x32 or more, or auxiliary=False."
            )
        x = average_pool(nn.relu(x), 3, size=5, padding=0)
        x = nn.relu(self.norm(name="bn0")(self.conv(128, 1, name="conv0")(x), train=train))
        x = self.conv(768, x.shape[1], padding="VALID", name="conv1")(x)
        return classify(nn.relu(self.norm(name="bn1")(x, train=train)), self.num_classes)


class CellStack(ImageClassifier, kw_only=True):
    """What supernet and fixed network share: a stem, cells, and a classifier.

    Attributes:
      cells: number of cells.
      channels: C of the first cell.
      width_ratio: channels up to the first reduction, from it on, and from the second on; None is the space's.
    """

    cells: int
    channels: int
    width_ratio: tuple[int, int, int] | None = None

    @property
    def cell_space(self) -> CellSpace:
        """Space whose placement and widths the cells have."""
        raise NotImplementedError

    @property
    def taps(self) -> tuple[str, ...]:
        return self.cell_space.taps(self.cells)

    @property
    def conv(self) -> Make:
        return functools.partial(Conv, dtype=self.dtype, kernel_init=UNIFORM_FAN_IN)

    def trunk(self, images: jax.Array, cell: Callable[..., list[jax.Array]], *, train: bool) -> Output:
        """Returns logits and taps; `cell` maps (type, attributes, outputs of the two cells before it) to its nodes."""
        space = self.cell_space
        x = Normalize(self.mean, self.std)(images)
        x = self.norm(name="stem_bn")(self.conv(STEM * self.channels, name="stem_conv")(x), train=train)
        out = {"stem": x}
        earlier, later, halve = x, x, False
        widths = space.widths(self.cells, self.channels, self.width_ratio)
        for index, (kind, features) in enumerate(zip(space.placement(self.cells), widths, strict=True)):
            name, stride = f"cell{index}", 2 if kind == "reduce" else 1
            nodes = cell(kind, dict(features=features, stride=stride, halve=halve, name=name), earlier, later)
            out |= {f"{name}.node{node}": x for node, x in zip(CONCAT, nodes, strict=True)}
            earlier, later, halve = later, jnp.concatenate(nodes, -1), kind == "reduce"
        return classify(later, self.num_classes), out


class CellSupernet(CellStack, kw_only=True):
    """The network of a search: on every edge the mixture of all operations (DARTS, arXiv 1806.09055, eq. 2).

    Attributes:
      space: of the cells.
    """

    space: CellSpace

    @property
    def cell_space(self) -> CellSpace:
        return self.space

    @nn.compact
    def __call__(self, images: jax.Array, probabilities: Mapping[str, jax.Array], *, train: bool = False) -> Output:
        """Returns logits and taps of the mixture by `probabilities`.

        These are the weights of the operations on every edge, per type of cell [edges, operations]; ValueError where
        some are missing or have another shape.
        """
        self.space.check(probabilities)
        norm = functools.partial(self.norm, use_affine=False)

        def cell(kind, attributes, earlier, later):
            mixed = MixedCell(operations=self.space.operations, conv=self.conv, norm=norm, **attributes)
            return mixed(earlier, later, probabilities[kind], train=train)

        return self.trunk(images, cell, train=train)


class CellNetwork(CellStack, kw_only=True):
    """The network of a genotype.

    Attributes:
      genotype: operations and sources of every type of cell.
      auxiliary: whether a second classifier stands after the second reduction.
    """

    genotype: Genotype
    auxiliary: bool = False

    @property
    def cell_space(self) -> CellSpace:
        return get_space(self.genotype.space)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, drop_path: DropPath | None = None) -> Output:
        """Returns logits and taps; in training with `auxiliary`, logits of the second classifier too, as "auxiliary".

        In training, `drop_path` has keys [N] and the rate at which edges other than identities are dropped, each for
        itself and for every example by itself.
        """
        if not train:
            drop_path = None

        def cell(kind, attributes, earlier, later):
            fixed = FixedCell(edges=self.genotype.edges(kind), conv=self.conv, norm=self.norm, **attributes)
            return fixed(earlier, later, drop_path, train=train)

        logits, out = self.trunk(images, cell, train=train)
        if self.auxiliary and (train or self.is_initializing()):
            second = self.cell_space.reductions(self.cells)[1]
            x = jnp.concatenate([out[f"cell{second}.node{node}"] for node in CONCAT], -1)
            head = AuxiliaryHead(self.num_classes, self.conv, self.norm, name="auxiliary_head")
            out["auxiliary"] = head(x, train=train)
        return logits, out

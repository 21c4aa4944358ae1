"""The macro architectures of RNAS-CL (arXiv 2301.08092): stages of inverted-residual blocks and their width options."""

from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run of blocks of one maximal width; the first block has the stage's stride.

    Width options are `width - i * step` for i in 0..options-1, widest first.
    """

    width: int
    blocks: int
    stride: int
    options: int
    step: int = 4
    expansion: int = 6


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted-residual block of a space, at its largest."""

    name: str
    stage: int  # counted from 1
    stride: int
    expansion: int
    options: tuple[int, ...]  # output widths, widest first

    @property
    def width(self) -> int:
        return self.options[0]


@dataclasses.dataclass(frozen=True)
class WidthSpace:
    """Macro architecture: stem, stages, and the optional pooling block of the ImageNet network."""

    name: str
    stages: tuple[Stage, ...]
    stem_width: int = 16
    stem_stride: int = 2
    pool_features: int | None = None  # width after pooling; None: classify the pooled map directly

    @property
    def blocks(self) -> tuple[Block, ...]:
        found = []
        for number, stage in enumerate(self.stages, start=1):
            options = tuple(stage.width - i * stage.step for i in range(stage.options))
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                found.append(Block(f"block{len(found)}", number, stride, stage.expansion, options))
        return tuple(found)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the student taps in forward order: the stem, then every convolution of every block."""
        names = ["stem"]
        for block in self.blocks:
            parts = ("expand", "depthwise", "project") if block.expansion > 1 else ("depthwise", "project")
            names += [f"{block.name}.{part}" for part in parts]
        if self.pool_features is not None:
            names += ["pool.expand", "pool.project"]
        return tuple(names)

    @property
    def largest(self) -> tuple[int, ...]:
        return tuple(block.options[0] for block in self.blocks)

    @property
    def smallest(self) -> tuple[int, ...]:
        return tuple(block.options[-1] for block in self.blocks)

    def check_widths(self, widths: Sequence[int]) -> tuple[int, ...]:
        """Returns `widths` as a tuple; raises ValueError where one is no option of its block."""
        blocks = self.blocks
        if len(widths) != len(blocks):
            raise ValueError(f"space {self.name!r} has {len(blocks)} blocks, but {len(widths)} widths were given.")
        for block, width in zip(blocks, widths, strict=True):
            if width not in block.options:
                raise ValueError(
                    f"{block.name} of space {self.name!r} cannot have width {width!r}; its options are "
                    f"{', '.join(map(str, block.options))}."
                )
        return tuple(int(width) for width in widths)


def _cifar(name: str, *stages: tuple[int, int]) -> WidthSpace:
    (b1, w1), (b2, w2), (b3, w3) = stages
    return WidthSpace(name, (Stage(w1, b1, 1, 2), Stage(w2, b2, 2, 4), Stage(w3, b3, 2, 4)))


SPACES: dict[str, WidthSpace] = {}


def register(space: WidthSpace) -> WidthSpace:
    """Adds a space to `SPACES`, under its name.

    Raises:
      ValueError: the name belongs to another space.
    """
    if SPACES.setdefault(space.name, space) != space:
        raise ValueError(f"a width space {space.name!r} exists already; choose another name.")
    return space


# For 8×8 digits: no downsampling in the stem, two resolutions.
register(WidthSpace("tiny", (Stage(16, 2, 1, 2), Stage(32, 2, 2, 4)), stem_stride=1))
register(_cifar("s1", (1, 16), (1, 32), (1, 64)))
register(_cifar("s3", (3, 16), (3, 32), (3, 64)))
register(_cifar("s5", (5, 16), (5, 32), (5, 64)))
register(_cifar("s7", (7, 16), (7, 32), (7, 64)))
register(_cifar("m", (9, 80), (7, 160), (1, 128)))
register(_cifar("l", (9, 160), (7, 320), (1, 256)))
register(
    WidthSpace(
        "imagenet",
        (
            Stage(16, 1, 1, 2, step=4, expansion=1),
            Stage(28, 3, 2, 4, step=4),
            Stage(40, 3, 2, 4, step=8),
            Stage(96, 3, 2, 7, step=8),
            Stage(128, 4, 1, 8, step=8),
            Stage(216, 4, 2, 14, step=8),
        ),
        pool_features=1984,
    )
)


def get_space(name: str) -> WidthSpace:
    """Returns the space called `name`; raises ValueError naming the known ones."""
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; known spaces: {', '.join(SPACES)}.")
    return SPACES[name]

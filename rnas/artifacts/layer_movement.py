"""`layer_movement.json`: how far an attack on a teacher moves the attention map of each of its layers."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from rnas.artifacts.record import Number, Radius, Record, Size

FILE = "layer_movement.json"


@dataclasses.dataclass(frozen=True)
class LayerMovement(Record):
    """The mean over images of ‖F(x) - F(x′)‖², F the normalised attention map and x′ adversarial for the teacher."""

    format = 1
    earlier = "Delete it: it is measured again."

    teacher: Mapping[str, Any]  # its identity
    attack: str  # name in `rnas.attacks.catalogue`
    epsilon: Radius  # radius in pixel units
    images: Size  # held-out ones
    size: Size  # side of the maps in pixels
    taps: tuple[str, ...]  # of the teacher, in forward order
    movement: tuple[Number, ...]  # of each tap, in [0, 2]

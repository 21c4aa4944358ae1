"""The outcome of a search, `architecture.json`: which widths, and which teacher layer each student layer follows."""

from collections.abc import Sequence
import dataclasses
from pathlib import Path

import numpy as np

from rnas.files import read_json, write_json
from rnas.spaces import fbnet

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Widths per block and, where the search had a teacher, a tutor per student tap.

    Attributes:
      space: name of the space.
      widths: output channels per block.
      image_shape: [H, W, C] of the images it was searched on.
      num_classes: K.
      tutors: teacher tap of each student tap; empty without a teacher.
      teacher_taps: all taps of the teacher, in forward order.
      tutor_probabilities: [n_s, n_t], softmax of the selector; empty without a teacher.
      tutor_logits: [n_s, n_t], the selector itself, for training with samples of it.
      width_probabilities: per block, per option.
      teacher: {'architecture': …, 'hash': …} of the teacher, or empty.
    """

    space: fbnet.Space
    widths: tuple[int, ...]
    image_shape: tuple[int, int, int]
    num_classes: int
    tutors: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    tutor_probabilities: Sequence = ()
    tutor_logits: Sequence = ()
    width_probabilities: Sequence = ()
    teacher: dict = dataclasses.field(default_factory=dict)

    def cost(self, kind: str, **options) -> int:
        height, _, channels = self.image_shape
        return fbnet.cost(
            self.space, self.widths, image_size=height, channels=channels, num_classes=self.num_classes, kind=kind,
            **options,
        )  # fmt: skip

    def save(self, path: Path, **options) -> None:
        """Writes the file; `options` (conv_bias, mask_expansion) only enter the counts it states."""
        _, sides = fbnet.resolutions(self.space, self.image_shape[0])
        blocks = [
            {
                "name": block.name,
                "stage": block.stage,
                "width": width,
                "options": list(block.options),
                "stride": block.stride,
                "expansion": block.expansion,
                "resolution": side,
            }
            for block, width, side in zip(self.space.blocks, self.widths, sides, strict=True)
        ]
        content = {
            "format": FORMAT,
            "space": self.space.name,
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "widths": list(self.widths),
            "blocks": blocks,
            "student_taps": list(self.space.taps),
            "teacher_taps": list(self.teacher_taps),
            "tutors": list(self.tutors),
            "tutor_probabilities": np.asarray(self.tutor_probabilities).tolist(),
            "tutor_logits": np.asarray(self.tutor_logits).tolist(),
            "width_probabilities": [np.asarray(p).tolist() for p in self.width_probabilities],
            "teacher": self.teacher,
            "params": self.cost("params", **options),
            "macs": self.cost("macs", **options),
        }
        write_json(path, content)


def load_architecture(path: str | Path) -> Architecture:
    """Reads an `architecture.json`; only format, space, widths, image_shape and num_classes are required.

    Raises:
      ValueError: where the file is missing, is not JSON, or does not describe a network of its space.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no architecture at {path}; run the search first, or name another file.")
    content = read_json(path)
    required = ("format", "space", "widths", "image_shape", "num_classes")
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path} is no architecture: it lacks {', '.join(missing)}.")
    if content["format"] != FORMAT:
        raise ValueError(f"{path} has format {content['format']!r}; this version reads format {FORMAT}.")
    try:
        if len(content["image_shape"]) != 3 or not all(isinstance(n, int) for n in content["image_shape"]):
            raise ValueError(f"image_shape is {content['image_shape']!r}, not three whole numbers.")
        if not isinstance(content["num_classes"], int):
            raise ValueError(f"num_classes is {content['num_classes']!r}, not a whole number.")
        space = fbnet.get_space(content["space"])
        architecture = Architecture(
            space=space,
            widths=space.check_widths(content["widths"]),
            image_shape=tuple(content["image_shape"]),
            num_classes=content["num_classes"],
            tutors=tuple(content.get("tutors", ())),
            teacher_taps=tuple(content.get("teacher_taps", ())),
            tutor_probabilities=content.get("tutor_probabilities", ()),
            tutor_logits=content.get("tutor_logits", ()),
            width_probabilities=content.get("width_probabilities", ()),
            teacher=content.get("teacher", {}),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} does not describe a network: {error}") from error
    if architecture.tutors and len(architecture.tutors) != len(space.taps):
        raise ValueError(
            f"{path} names {len(architecture.tutors)} tutors, but space {space.name!r} has {len(space.taps)} taps."
        )
    unknown = set(architecture.tutors) - set(architecture.teacher_taps)
    if unknown:
        raise ValueError(f"{path} has tutors that are no teacher taps: {', '.join(sorted(unknown))}.")
    return architecture

"""What every kind of source is read as: pictures one after another, each with its part and its label."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
from pathlib import Path
import re
from typing import NamedTuple
import unicodedata

import numpy as np

# Names of parts as they are found, and what they become. rnas holds images out of the training part by itself.
TRAIN, TEST = "train", "test"
PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing", "t10k"), TEST),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
LONGEST_NAME = 200  # letters of the name of a class
JOINED = "The validation part joins the training part: rnas holds images out of it by itself."


class Example(NamedTuple):
    """One picture of a source."""

    part: str  # TRAIN or TEST
    label: int  # the class among the names of the source
    picture: Path | bytes | np.ndarray  # a file, its content, or pixels: uint8 [H, W] or [H, W, 1, 3 or 4]
    name: str  # where it stands in the source, for messages and in the set


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures as a user has them.

    Attributes:
      kind: what it is, for the reader.
      class_names: unlike each other, in the order of the labels.
      count: of its examples.
      examples: reads all of them, in the same order each time.
      has_test: whether some of them are of the part TEST.
      notes: how it was understood where that was not plain.
      as_published: a set that others publish figures of; no image is then left out for being twice in it.
    """

    kind: str
    class_names: tuple[str, ...]
    count: int
    examples: Callable[[], Iterator[Example]]
    has_test: bool
    notes: tuple[str, ...] = ()
    as_published: bool = False


def known_parts(found: Sequence[str], where: str) -> dict[str, str]:
    """What the parts of a source become, by their names there; the validation part tests where no other one does.

    They come in the order in which they are read, training first. Raises ValueError where one is unknown, or none is
    for training.
    """
    if strange := [name for name in found if name.lower() not in PARTS]:
        raise ValueError(f"{where} has a part {strange[0]!r}; expected {', '.join(PARTS)}.")
    parts = {name: PARTS[name.lower()] for name in found}
    if TRAIN not in parts.values():
        raise ValueError(f"{where} has the parts {', '.join(found)}: expected one for training, such as train.")
    held = TRAIN if TEST in parts.values() else TEST
    found_as = {name: held if part == "validation" else part for name, part in parts.items()}
    return dict(sorted(found_as.items(), key=lambda item: item[1] == TEST))


def joined(parts: dict[str, str]) -> tuple[str, ...]:
    """The note that a validation part has joined the training part, where it has."""
    return (JOINED,) if any(PARTS.get(name.lower()) == "validation" and parts[name] == TRAIN for name in parts) else ()


def check_class_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Names of classes as they are kept: composed letters (NFC), single spaces; slashes and umlauts are welcome.

    Raises ValueError where there are fewer than two, one is empty, too long or no text, or two differ only in case, in
    spaces or in how their letters are composed.
    """
    kept: dict[str, str] = {}
    for name in names:
        clean = re.sub(r"\s+", " ", unicodedata.normalize("NFC", name)).strip()
        if (
            not clean
            or len(clean) > LONGEST_NAME
            or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in clean)
        ):
            raise ValueError(f"{where} has a class {name!r:.60}: expected 1 to {LONGEST_NAME} letters of plain text.")
        alike = unicodedata.normalize("NFKC", clean).casefold()
        if alike in kept:
            raise ValueError(
                f"{where} has two classes {kept[alike]!r} and {clean!r} that differ only in case, in spaces or in how "
                "their letters are composed. Rename one, or put their images together."
            )
        kept[alike] = clean
    if len(kept) < 2:
        raise ValueError(f"{where} has {len(kept) or 'no'} class{'es' if not kept else ''}; expected two or more.")
    return tuple(kept.values())


def natural_order(names: Iterable[str]) -> list[str]:
    """Names in order, those that are numbers by their size: 2 before 10."""
    return sorted(names, key=lambda name: (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name))

"""Images and what is known of each of them, in one `.npz` file."""

import os
from typing import ClassVar, Self

from rnas.artifacts.files import check_kinds, read_arrays, write_arrays


class ImageArrays:
    """A dataclass of arrays, the content of a file."""

    pictures: ClassVar[tuple[str, ...]]  # fields of one shape [n, height, width, channels]; all others are [n]

    @classmethod
    def read(cls, path: str | os.PathLike) -> Self:
        """Reads the file. Raises ValueError where it is missing or holds arrays of other names, kinds or shapes."""
        names: dict[str, object] = vars(cls)["__dataclass_fields__"]
        arrays = read_arrays(path, tuple(names))
        shape = arrays[cls.pictures[0]].shape
        expected = {name: shape if name in cls.pictures else shape[:1] for name in names}
        if len(shape) != 4 or any(array.shape != expected[name] for name, array in arrays.items()):
            found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise ValueError(
                f"{path} has {found}; expected one shape [n, height, width, channels] of {' and '.join(cls.pictures)}, "
                "and [n] of all others."
            )
        kinds = {name: "shares" if name in cls.pictures else "integers" for name in names}
        check_kinds(path, arrays, kinds)
        return cls(**arrays)

    def write(self, path: str | os.PathLike) -> None:
        write_arrays(path, vars(self))

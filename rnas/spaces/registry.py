"""The spaces of one kind, by their names."""

from typing import Any, Generic, TypeVar

Space = TypeVar("Space", bound=Any)


class Registry(dict[str, Space], Generic[Space]):
    """Name -> space; `kind` names the kind in messages."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, space: Space) -> Space:
        """Adds a space under its name; raises ValueError where the name belongs to another space."""
        if self.setdefault(space.name, space) != space:
            raise ValueError(f"a {self.kind} space {space.name!r} exists already; choose another name.")
        return space

    def get_space(self, name: str) -> Space:
        """Returns the space called `name`; raises ValueError naming the known ones."""
        if not isinstance(name, str) or name not in self:
            raise ValueError(f"unknown space {name!r:.60}; known spaces: {', '.join(self)}.")
        return self[name]

"""Search for compact image classifiers that withstand adversarial attack.

`rnas.run`, `search`, `train`, `evaluate` and `study` do what the commands of these names do, `rnas.load(WORKDIR)`
restores a trained model; the rest has its place in the folders of the package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnas.interface import Model, RunDirectory, StudyDirectory, evaluate, load, run, search, study, train

__version__ = "0.1.0"
__all__ = ["Model", "RunDirectory", "StudyDirectory", "evaluate", "load", "run", "search", "study", "train"]


def __getattr__(name: str) -> Any:
    """Imports the interface when it is first used: `import rnas` alone brings no JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'rnas' has no attribute {name!r}")
    from rnas import interface

    return getattr(interface, name)

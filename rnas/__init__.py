"""Search for compact image classifiers that withstand adversarial attack.

`rnas.load(WORKDIR)` restores a trained model; the rest has its place in the folders of the package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnas.runs.loaded_model import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    """Imports `load` and `Model` when they are first used: `import rnas` alone brings no JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'rnas' has no attribute {name!r}")
    from rnas.runs import loaded_model

    return getattr(loaded_model, name)

"""Direct calls of an attack: inputs checked on the host, one compilation for a model, a shape and its settings.

An attack called while tracing (inside `jax.jit`, `jax.vmap` or `jax.pmap`) is the bare function: nothing about values
can be checked there, and the caller compiles. Called with arrays it first refuses what would mean nothing, then runs a
compiled program, kept for the next call with the same `logits_fn` and settings.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks.batching import Compilation
from rnas.attacks.epsilon_parsing import is_traced, pixel_radius
from rnas.attacks.input_checks import check_count, check_inputs, check_number, check_types
from rnas.attacks.logits import check_float
from rnas.attacks.random_start import per_example_keys
from rnas.attacks.result import AttackResult

KEPT = 64  # compiled programs; each holds on to its model
COUNTS = {"steps", "restarts", "queries", "eot"}  # settings that are whole numbers, of which each attack has some


class Identity:
    """Makes any function a dictionary key, by what it is and not by what it equals."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __hash__(self) -> int:
        return id(self.function)

    def __eq__(self, other) -> bool:
        return isinstance(other, Identity) and self.function is other.function


def hashable(function: Callable) -> Callable:
    """Returns `function`, wrapped if it cannot be a dictionary key (a module that holds arrays, for one)."""
    try:
        hash(function)
    except TypeError:
        return Identity(function)
    return function


def count_classes(logits_fn: Callable, images: Any, *draw: jax.Array) -> int:
    """Returns K of `logits_fn`: [N,H,W,C] → [N,K] floats, without running it; ValueError if it gives anything else."""
    one = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32)
    found = jax.eval_shape(logits_fn, one, *draw)
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 1:
        given = f"shape {shape}" if shape is not None else type(found).__name__
        raise ValueError(f"logits_fn must return [N, K] logits for images [N, H, W, C]; for one image it gave {given}.")
    check_float(found.dtype)
    return shape[1]


def check_direct(logits_fn: Callable, images: Any, labels: Any, *, random: bool) -> int:
    """Refuses what `check_inputs` and `count_classes` refuse, and returns K."""
    images, labels = np.asarray(images), np.asarray(labels)
    check_types(images, labels)  # first, or else the model would fail on them in words of its own
    num_classes = count_classes(logits_fn, images, *([jax.random.key(0)] if random else []))
    check_inputs(images, labels, num_classes)
    return num_classes


def direct(*traced: str, lengths: tuple[str, ...] = (), numbers: tuple[str, ...] = ()) -> Callable:
    """Decorates an attack so that direct calls are checked and compiled.

    Args:
      traced: names of settings that are arrays (or None) and do not make another program.
      lengths: names of settings in pixel units, such as a step size; traced as well.
      numbers: names of settings that are numbers (or None); traced as well.
    """

    def decorate(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
        @functools.wraps(attack)
        def call(logits_fn, images, labels, *, epsilon, key, norm="linf", **settings):
            if is_traced((images, labels, epsilon, key, settings)):
                return attack(logits_fn, images, labels, epsilon=epsilon, key=key, norm=norm, **settings)
            for name in COUNTS & settings.keys():  # what can be read here cannot in the program
                check_count(name, settings[name], least=0)
            check_direct(logits_fn, images, labels, random=settings.get("eot", 1) > 1)
            keys = per_example_keys(key, len(images))
            arrays = {name: settings.pop(name) for name in (*traced, *numbers) if name in settings}
            for name in numbers:
                if arrays.get(name) is not None:
                    check_number(name, arrays[name], least=0)
            for name in lengths:
                if settings.get(name) is not None:
                    arrays[name] = np.float32(pixel_radius(settings.pop(name), norm, name))
            arrays["epsilon"] = np.float32(pixel_radius(epsilon, norm))
            fixed = tuple(sorted((name, _plain(name, value)) for name, value in settings.items()))
            program = _program(attack, hashable(logits_fn), norm, fixed)
            return program(jnp.asarray(images), jnp.asarray(labels), keys, arrays)

        return call

    return decorate


@functools.lru_cache(maxsize=KEPT)
def _program(attack: Callable, logits_fn: Callable, norm: str, fixed: tuple) -> Callable:
    def run(images, labels, key, arrays):
        return attack(logits_fn, images, labels, key=key, norm=norm, **arrays, **dict(fixed))

    return jax.jit(run)


@functools.lru_cache(maxsize=KEPT)
def _compiled(program: Callable, logits_fn: Callable) -> Callable:
    run, compilation = jax.jit(functools.partial(program, logits_fn)), Compilation()

    def call(images, *rest):
        with compilation.of(images.shape):
            return jax.device_get(run(images, *rest))

    return call


def compiled(program: Callable, logits_fn: Callable) -> Callable:
    """Returns `program(logits_fn, ...)` compiled, the same one for the same pair; it gives NumPy arrays."""
    return _compiled(program, hashable(logits_fn))


def _plain(name: str, value: Any) -> Any:
    """A setting as a dictionary key: counts may come as arrays, functions without a hash. Others are refused."""
    if isinstance(value, jax.Array | np.generic) and value.ndim == 0:
        return value.item()
    try:
        hash(value)
    except TypeError:
        if not callable(value):
            raise ValueError(f"{name} must be one value, got {value!r}.") from None
        return Identity(value)
    return value

"""What is written down stays what it is, and so do its derivatives; what is forgotten gives its memory back."""

import gc
import os
from pathlib import Path

import jax
from jax import monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks.stored import stored
from rnas.steps import forget_programs
from rnas.training.programs import Compiling, prune

ODD = np.array([np.nan, -0.0, np.inf, -np.inf, 1e-45, 3e38, -1.5], np.float32)


@pytest.mark.parametrize("first", [1.0, -1.0, np.nan])  # either branch
def test_every_bit_is_kept(first):
    x = np.append(np.float32(first), ODD).reshape(2, 4)
    for run in (stored, jax.jit(stored), jax.vmap(stored), jax.jit(jax.vmap(stored))):
        np.testing.assert_array_equal(np.asarray(run(x)).view(np.int32), x.view(np.int32))


def test_other_types_and_nothing_at_all():
    numbers = jnp.arange(-3, 3)
    np.testing.assert_array_equal(stored(numbers), numbers)
    assert stored(numbers).dtype == numbers.dtype
    assert jax.jit(stored)(jnp.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("first", [0.7, -0.7])
def test_derivatives_of_first_and_second_order(first):
    x = jnp.array([first, 0.3, -0.2])

    def plain(x):
        return jnp.sin(x) ** 3

    def through(x):
        return jnp.sin(stored(x)) ** 3

    np.testing.assert_array_equal(jax.jacrev(through)(x), jax.jacrev(plain)(x))
    np.testing.assert_array_equal(jax.jacfwd(through)(x), jax.jacfwd(plain)(x))
    np.testing.assert_allclose(jax.hessian(lambda x: through(x).sum())(x), jax.hessian(lambda x: plain(x).sum())(x))


def test_the_compiler_leaves_it_in_place_on_a_cpu_and_sees_nothing_elsewhere():
    def shifted(x):
        written = stored(jnp.exp(x))
        return written[1:] + written[:-1]

    if jax.default_backend() == "cpu":
        assert " conditional(" in jax.jit(shifted).lower(jnp.ones(100)).compile().as_text()
    for platform in ("cuda", "tpu"):
        lowered = jax.jit(shifted).trace(jnp.ones(100)).lower(lowering_platforms=(platform,)).as_text()
        assert "optimization_barrier" not in lowered


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts pieces of memory as Linux shows them")
@pytest.mark.parametrize("compiled", [jax.jit, jax.pmap])
def test_forgotten_programs_give_their_pieces_of_memory_back(compiled):
    def pieces():
        return len(Path("/proc/self/maps").read_text().splitlines())

    before = pieces()
    programs = [compiled(lambda x, i=i: jnp.sort(i * x) @ jnp.swapaxes(x, -1, -2) + jnp.sin(x)) for i in range(20)]
    images = jnp.ones((jax.local_device_count(), 4, 4))
    for program in programs:
        jax.block_until_ready(program(images))
    taken = pieces() - before
    assert taken > 50
    forget_programs()
    gc.collect()
    assert pieces() - before < taken / 2
    assert programs[2](images).shape == images.shape


def test_xla_is_quiet_while_it_compiles(monkeypatch):
    """Its alarm about slow compilations would stand over a bar of progress."""
    levels, seen = [], []
    monkeypatch.setattr("rnas.training.programs.utils.absl_set_min_log_level", levels.append)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    compiling = Compiling()

    def look(event, **_):
        seen.append((compiling.now, levels[-1:]))

    monitoring.register_event_listener(look)
    jax.jit(lambda x: jnp.cos(x) + 0.123456789)(1.0).block_until_ready()
    monitoring.unregister_event_listener(look)
    assert not compiling.now and compiling.seconds > 0
    assert (True, [3]) in seen and levels[-1] == 2


def test_programs_that_were_not_used_for_longest_make_room(tmp_path):
    for age, name in enumerate(("new", "used", "old", "older")):
        (tmp_path / f"{name}-cache").write_bytes(b"x" * 10)
        os.utime(tmp_path / f"{name}-cache", (1000 if name == "used" else 900 - age, 900 - age))
    (tmp_path / "other").write_bytes(b"x" * 100)

    def left():
        return sorted(path.name for path in tmp_path.iterdir())

    prune(tmp_path, 40)
    assert len(left()) == 5
    prune(tmp_path, 25)
    assert left() == ["new-cache", "other", "used-cache"]
    prune(tmp_path, 0)
    assert left() == ["other"]
    prune(tmp_path / "none", 0)

"""Two processes with two devices each do what one process with four does.

Run as a program, this file is one of the two processes.
"""

import contextlib
import os
from pathlib import Path
import pickle
import socket
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from rnas.training import hosts

COUNT, FIRST = 2, 3  # in the search a weight step, then an architecture step


def trained(study, kind):
    """(state, metric sums) after a few steps of search or training."""
    start = getattr(study, f"{kind}_state")().replace(step=np.array(FIRST, np.int32))
    return getattr(study, kind)(start, COUNT)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "search"])
def test_two_processes_equal_one(study, tmp_path, kind):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    root = Path(__file__).resolve().parents[2]
    folders = [str(root), str(root / "tests" / "fixtures"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, folders))
    environment = {**os.environ, "PYTHONPATH": path}
    outputs = [tmp_path / f"{index}.pickle" for index in range(2)]
    children = [
        subprocess.Popen(
            [sys.executable, __file__, address, str(index), str(output), jax.config.jax_compilation_cache_dir, kind],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for index, output in enumerate(outputs)
    ]  # fmt: skip
    try:
        said = [child.communicate(timeout=300)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    for child, text in zip(children, said, strict=True):
        assert child.returncode == 0, text
    found = [pickle.loads(output.read_bytes()) for output in outputs]
    chex.assert_trees_all_equal(*found)
    chex.assert_trees_all_close(found[0], trained(study, kind), atol=3e-5, rtol=1e-4)


def main(address: str, index: str, output: str, cache: str, kind: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_compilation_cache_max_size", 4 * 2**30)
    jax.distributed.initialize(coordinator_address=address, num_processes=2, process_id=int(index))
    assert jax.device_count() == 4 and len(jax.local_devices()) == 2

    from small_study import Study

    Path(output).write_bytes(pickle.dumps(trained(Study(), kind)))
    jax.distributed.shutdown()


@contextlib.contextmanager
def entered(log, refusal=None):
    if refusal:
        raise ValueError(refusal)
    log.append("in")
    yield
    log.append("out")


def test_a_context_of_the_first_process_is_entered_and_left():
    log = []
    with hosts.on_first(lambda: entered(log)):
        assert log == ["in"]
    assert log == ["in", "out"]
    with pytest.raises(ValueError, match="taken"), hosts.on_first(lambda: entered(log, "taken")):
        pytest.fail("it was refused")


def test_other_processes_do_not_enter_it_but_are_refused_with_the_first(monkeypatch):
    log, first = [], [False]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(hosts, "gathered", lambda value: np.array([first[0], value]))
    with hosts.on_first(lambda: entered(log)):
        pass
    first[0] = True
    with pytest.raises(ValueError, match="the first process was refused"), hosts.on_first(lambda: entered(log)):
        pytest.fail("the first process was refused")
    assert log == []


if __name__ == "__main__":
    main(*sys.argv[1:])

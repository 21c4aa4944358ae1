"""Checkpoints: what is saved comes back, damage is found out, another model is refused."""

import errno
import json
import logging
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from rnas.training.checkpoints import Checkpoints


@struct.dataclass
class State:
    step: Any
    params: Any
    opt_state: Any


def make_state(value: float, width: int = 3) -> State:
    params = {
        "conv": {"kernel": jnp.full((2, width), value), "scale": jnp.full(width, value, jnp.bfloat16)},
        "mask": jnp.array([True, False, True]),
        "empty": jnp.zeros((0, 4)),
    }
    return State(jnp.int32(value), params, optax.adam(1e-3).init(params["conv"]))


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, np.asarray(right))


def test_a_state_comes_back_as_it_was(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(5, make_state(5.0))
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(lambda: make_state(0.0)))
    assert restored.step == 5
    assert_same(restored.state, make_state(5.0))
    restored.state.params["mask"][:] = False  # the arrays can be written to


def test_numbers_are_saved_as_arrays_without_dimensions(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": np.float32(0.5), "b": 3})
        state = checkpoints.restore({"a": np.float32(0), "b": 0}).state
    assert state["a"].shape == () and state["a"].dtype == np.float32 and state["a"] == 0.5
    assert state["b"] == 3


def test_later_changes_of_the_state_are_not_saved(tmp_path):
    array = np.ones(1000)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": array})
        array[:] = 2
        checkpoints.wait()
        np.testing.assert_array_equal(checkpoints.restore({"a": array}).state["a"], np.ones(1000))


def test_reading_makes_nothing(tmp_path):
    with Checkpoints(tmp_path / "none" / "here", best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(1)}) is None
        assert checkpoints.restore({"a": np.zeros(1)}, "best") is None
        assert checkpoints.steps() == []
    assert list(tmp_path.iterdir()) == []


def save_all(folder: Path, scores: list[float | None], keep: int = 2) -> None:
    with Checkpoints(folder, keep=keep, best="accuracy") as checkpoints:
        for step, score in enumerate(scores, start=1):
            metrics = None if score is None else {"accuracy": score, "loss": -score}
            checkpoints.save(step, {"a": np.full(50, step)}, metrics)


@pytest.mark.parametrize(
    ("scores", "steps", "best"),
    [
        ([0.1, 0.9, 0.2, 0.3], [2, 3, 4], 2),
        ([0.1, 0.2, 0.3, 0.4], [3, 4], 4),
        ([0.5, 0.5, 0.5, 0.5], [3, 4], 4),
        ([0.7, float("nan"), None, None], [1, 3, 4], 1),
        ([None, None, None], [2, 3], None),
    ],
)
def test_keeps_the_latest_and_the_best(tmp_path, scores, steps, best):
    save_all(tmp_path, scores)
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        template = {"a": np.zeros(50, int)}
        assert checkpoints.steps() == steps
        assert checkpoints.restore(template, "best").step == (best or steps[-1])
        restored = checkpoints.restore(template)
        assert restored.step == steps[-1]
        assert restored.state["a"][0] == steps[-1]


def test_the_best_of_a_former_run_stays(tmp_path):
    save_all(tmp_path, [0.1, 0.9, 0.2])
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(50, int)}, "best").step == 2
        for step in (4, 5, 6):
            checkpoints.save(step, {"a": np.full(50, step)}, {"accuracy": 0.3})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 5, 6]
        assert checkpoints.restore({"a": np.zeros(50, int)}, "best").step == 2


def test_a_step_is_saved_once_and_never_before_a_later_one(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, {"a": np.zeros(2)})
        checkpoints.save(3, {"a": np.ones(2)})
        with pytest.raises(ValueError, match="holds step 3, later than step 2"):
            checkpoints.save(2, {"a": np.zeros(2)})
        checkpoints.wait()
        assert checkpoints.restore({"a": np.ones(2)}).state["a"][0] == 0


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (lambda: make_state(0.0, width=4), r"params/conv/kernel is float32\[2, 3\] .* float32\[2, 4\]"),
        (lambda: make_state(0.0).params, r"step is int32\[\] in the checkpoint, absent in this"),
        (lambda: make_state(0.0).replace(step=np.float32(0)), r"step is int32\[\] .* float32\[\] in this"),
    ],
)
def test_another_model_is_refused(tmp_path, template, message):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1.0))
        checkpoints.save(2, make_state(2.0))
        with pytest.raises(ValueError, match="of another model: .*" + message):
            checkpoints.restore(template())
        assert_same(checkpoints.restore(make_state(0.0)).state, make_state(2.0))


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_whatever_file_is_damaged_only_a_whole_state_comes_back(tmp_path, caplog):
    """Every file of the latest step is cut, emptied or scrambled in turn."""
    save_all(tmp_path, [0.1, 0.2])
    template = {"a": np.zeros(50, int)}
    fallbacks = 0
    for path in files_of(tmp_path / "2"):
        content = path.read_bytes()
        middle = len(content) // 2
        scrambled = (
            content[:middle] + bytes(255 - byte for byte in content[middle : middle + 8]) + content[middle + 8 :]
        )
        for damaged in (content[:middle], b"", scrambled):
            path.write_bytes(damaged)
            caplog.clear()
            with Checkpoints(tmp_path, best="accuracy") as checkpoints:
                restored = checkpoints.restore(template)
                np.testing.assert_array_equal(restored.state["a"], np.full(50, restored.step))
                if restored.step == 1:
                    fallbacks += 1
                    assert "step 2 is not used" in caplog.text
                if restored.step == 2:
                    assert checkpoints.restore(template, "best").step == 2
                else:  # step 2 scored higher: step 1 must not become the network
                    with pytest.raises(ValueError, match="step 2, .*is damaged .*restore this one from a copy"):
                        checkpoints.restore(template, "best")
        path.write_bytes(content)
    assert fallbacks >= 6
    assert (tmp_path / "2").is_dir()  # reading moved nothing


def record_of(folder: Path, step: int) -> Path:
    return folder / str(step) / "record" / "metadata"


def test_a_changed_value_is_found_by_its_hash(tmp_path, caplog):
    save_all(tmp_path, [0.1, 0.2])
    record = record_of(tmp_path, 2)
    text = record.read_text()
    start = text.index('"sha256"') + len('"sha256": "') + 3
    record.write_text(text[:start] + ("0" if text[start] != "0" else "1") + text[start + 1 :])
    with caplog.at_level(logging.WARNING), Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(50, int)}).step == 1
    assert "step 2" in caplog.text and "its checksum is another" in caplog.text


def test_a_score_that_was_edited_does_not_move_the_choice(tmp_path):
    """Neither up nor down: the record is not as it was written, so nothing is chosen by it."""
    save_all(tmp_path, [0.9, 0.5, 0.6])
    template = {"a": np.zeros(50, int)}
    for step, score in ((1, 0.1), (3, 0.95)):
        path = record_of(tmp_path, step)
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | {"score": score}))
        said = pytest.raises(ValueError, match=f"step {step}, maybe the best one, is damaged .*checksum")
        with Checkpoints(tmp_path, best="accuracy") as checkpoints, said:
            checkpoints.restore(template, "best")
        path.write_text(before)
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        best = checkpoints.restore(template, "best")
    assert (best.step, best.score) == (1, 0.9)


def test_a_record_without_a_checksum_is_that_of_an_earlier_version(tmp_path):
    save_all(tmp_path, [0.9, 0.5])
    for step in (1, 2):
        path = record_of(tmp_path, step)
        content = json.loads(path.read_text())
        del content["checksum"]
        path.write_text(json.dumps(content))
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(50, int)}, "best").step == 1


@pytest.mark.parametrize("part", ["record", "state"])
def test_training_on_does_not_lose_a_best_step_that_is_damaged(tmp_path, part):
    """It is neither removed nor replaced while later steps are saved; in the end it is named."""
    save_all(tmp_path, [0.9, 0.2, 0.3])
    file = max(files_of(tmp_path / "1" / part), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-20])
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(50, int)}).step == 3
        for step in (4, 5, 6):
            checkpoints.save(step, {"a": np.full(50, step)}, {"accuracy": 0.4})
        checkpoints.wait()
        with pytest.raises(ValueError, match="step 1, .*is damaged"):
            checkpoints.restore({"a": np.zeros(50, int)}, "best")


def test_a_run_goes_on_over_a_damaged_step(tmp_path):
    save_all(tmp_path, [0.1, 0.9])
    record_of(tmp_path, 2).write_text("{")
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.restore({"a": np.zeros(50, int)}).step == 1
        checkpoints.save(2, {"a": np.full(50, 22)}, {"accuracy": 0.3})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]
        assert checkpoints.restore({"a": np.zeros(50, int)}).state["a"][0] == 22
    assert (tmp_path / "2.damaged").is_dir()
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        assert checkpoints.steps() == [1, 2]


def test_all_damaged_is_an_error(tmp_path):
    save_all(tmp_path, [0.1, 0.2])
    for step in (1, 2):
        record_of(tmp_path, step).unlink()
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="every checkpoint .* damaged"):
        checkpoints.restore({"a": np.zeros(50, int)})


def test_which_is_latest_or_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="'last'; expected"):
        checkpoints.restore({}, "last")


def test_a_failed_write_is_reported_with_its_reason(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros(2)})
    checkpoints.wait()

    def full(*arguments, **settings):
        raise ValueError("RESOURCE_EXHAUSTED: Failed writing: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(OSError, match="No space left on device.*before it are intact") as failure:
            checkpoints.save(2, {"a": np.ones(2)})
    assert failure.value.errno == errno.ENOSPC
    assert checkpoints.restore({"a": np.ones(2)}).step == 1
    checkpoints.close()


KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_platforms", "cpu")
import numpy as np
from rnas.training.checkpoints import Checkpoints

checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, {"a": np.full(4_000_000, 1.0)})
checkpoints.wait()
checkpoints.save(2, {"a": np.random.default_rng(0).random(4_000_000)})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_while_saving_leaves_the_step_before(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ | {"JAX_PLATFORMS": "cpu"}, timeout=120
    )
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "1").is_dir()
    assert len(list(tmp_path.iterdir())) == 2, "the child was killed before or after it saved, not while"
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore({"a": np.zeros(4_000_000)})
        assert restored.step == 1
        assert (restored.state["a"] == 1).all()
        checkpoints.save(2, {"a": np.full(4_000_000, 2.0)})
        checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]  # the half-written one is gone


HOSTS = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
process = int(sys.argv[3])
jax.distributed.initialize(coordinator_address=sys.argv[2], num_processes=2, process_id=process)
import numpy as np
from rnas.training.checkpoints import Checkpoints

template = {"a": np.zeros(50, int)}
with Checkpoints(sys.argv[1], best="accuracy") as checkpoints:
    restored = checkpoints.restore(template)  # step 2 is damaged
    assert restored.step == 1 and (restored.state["a"] == 1).all(), restored
    for step in (2, 3, 4):
        checkpoints.save(step, {"a": np.full(50, step)}, {"accuracy": -step})
    checkpoints.wait()
    assert checkpoints.restore(template).state["a"][0] == 4
    assert checkpoints.steps() == [1, 3, 4], checkpoints.steps()
"""


def test_several_hosts_share_a_directory(tmp_path):
    save_all(tmp_path, [0.1, 0.2])
    record_of(tmp_path, 2).write_text("{")
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", HOSTS, str(tmp_path), address]
    children = [subprocess.Popen([*command, str(process)], env=environment) for process in (0, 1)]
    try:
        assert [child.wait(timeout=120) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
            child.wait()
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        restored = checkpoints.restore({"a": np.zeros(50, int)})
    assert restored.step == 4 and restored.state["a"][0] == 4

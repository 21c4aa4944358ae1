"""The record of a run: states and times of its stages, over all the processes that worked on it."""

import datetime
import json
import platform

import jax
import pytest

from rnas.artifacts.run_record import StageRecorder, versions


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""

    class Clock:
        now = 100.0

    monkeypatch.setattr("rnas.artifacts.run_record.time.monotonic", lambda: Clock.now)
    return Clock


def content(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_stage_is_running_and_then_complete(tmp_path, clock):
    record = StageRecorder(tmp_path, "rnas run --config=a.py")
    assert not record.record.is_complete("search")
    with record.stage("search"):
        assert content(tmp_path)["stages"] == {"search": {"seconds": 0.0, "starts": 1, "status": "running"}}
        clock.now += 12.34
    assert record.record.is_complete("search") and not record.record.is_complete("train")
    written = content(tmp_path)
    assert written["stages"] == {"search": {"seconds": 12.3, "starts": 1, "status": "complete"}}
    assert written["command"] == "rnas run --config=a.py"
    assert written["devices"] == jax.device_count() and written["device"] == "cpu"
    assert datetime.datetime.fromisoformat(written["started"]).tzinfo is not None


def test_a_stage_that_stopped_goes_on_with_its_time(tmp_path, clock):
    with pytest.raises(RuntimeError), StageRecorder(tmp_path, "first").stage("train"):
        clock.now += 5
        raise RuntimeError
    first = content(tmp_path)
    assert first["stages"]["train"] == {"seconds": 5.0, "starts": 1, "status": "running"}
    record = StageRecorder(tmp_path, "second")
    assert not record.record.is_complete("train")
    with record.stage("train"):
        clock.now += 2
    second = content(tmp_path)
    assert second["stages"]["train"] == {"seconds": 7.0, "starts": 2, "status": "complete"}
    assert second["started"] == first["started"] and second["command"] == "second"


def test_seconds_of_compiling_add_up(tmp_path, clock):
    for before, after, total in ((10.0, 13.5, 3.5), (2.0, 2.25, 3.8)):  # the second process began its count anew
        counted = iter((before, after))
        with StageRecorder(tmp_path, "").stage("train", compiled=lambda counted=counted: next(counted)):
            clock.now += 5
        assert content(tmp_path)["stages"]["train"]["compiling"] == total


def test_looking_at_a_record_writes_nothing(tmp_path):
    assert not StageRecorder(tmp_path, "run").record.is_complete("train")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/hosts", "../other/evaluation.json"])
def test_files_of_a_stage_lie_in_the_work_directory(tmp_path, name):
    with StageRecorder(tmp_path, "run").stage("train", lambda: {"checkpoints/train/1/state": "0"}):
        pass
    record = content(tmp_path)
    record["stages"]["train"]["files"] = {name: "0"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"run.json stages.train: files: expected paths within the work directory"):
        StageRecorder(tmp_path, "run")


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"stages": {')
    with pytest.raises(ValueError, match="run.json is not readable as JSON.*mend it, or remove it"):
        StageRecorder(tmp_path, "run")


def test_versions_name_python_and_the_packages():
    found = versions()
    assert found["python"] == platform.python_version() and found["jax"] == jax.__version__
    assert {"rnas", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("jax_threefry_partitionable", False),
        ("jax_enable_x64", True),
        ("jax_default_prng_impl", "rbg"),
        ("jax_default_matmul_precision", "bfloat16"),
    ],
)
def test_other_settings_of_jax_are_refused_by_name(tmp_path, name, other):
    with StageRecorder(tmp_path, "first").stage("train"):
        pass
    own = getattr(jax.config, name)
    assert content(tmp_path)["settings"][name] == own
    jax.config.update(name, other)
    try:
        with pytest.raises(ValueError, match=f"{name}: {own} recorded, {other} now(.|\n)*{name.upper()}"):
            StageRecorder(tmp_path, "second")
    finally:
        jax.config.update(name, own)
    StageRecorder(tmp_path, "third")


def test_a_run_that_recorded_no_settings_began_with_those_of_its_time(tmp_path):
    with StageRecorder(tmp_path, "first").stage("train"):
        pass
    path = tmp_path / "run.json"
    former = content(tmp_path)
    del former["settings"]
    path.write_text(json.dumps(former))
    StageRecorder(tmp_path, "second")
    with jax.threefry_partitionable(False), pytest.raises(ValueError, match="threefry_partitionable: True recorded"):
        StageRecorder(tmp_path, "third")


def test_other_settings_may_be_given_while_no_stage_has_begun(tmp_path):
    StageRecorder(tmp_path, "first").record.write(tmp_path / "run.json")
    with jax.threefry_partitionable(False):
        assert StageRecorder(tmp_path, "second").record.settings["jax_threefry_partitionable"] is False

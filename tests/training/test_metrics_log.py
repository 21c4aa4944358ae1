"""The metrics of a run: lines that survive a crash, and no step recorded twice."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from rnas.artifacts.metrics import read_rows
from rnas.training.metrics_log import MetricsLog


def metrics_of(workdir):
    return [row.to_json() for row in read_rows(workdir)]


def events(workdir, stage) -> list[Event]:
    """The events of a stage, file by file, read by the record format: length, checksum, bytes, checksum."""
    found = []
    for path in sorted((workdir / "events" / stage).iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, offset = path.read_bytes(), 0
        while offset < len(content):
            length = int.from_bytes(content[offset : offset + 8], "little")
            found.append(Event.FromString(content[offset + 12 : offset + 12 + length]))
            offset += 16 + length
    return found


def test_writes_lines_and_events(tmp_path):
    with MetricsLog(tmp_path, "search") as log:
        log.write(3, 0.5, "train", {"loss": jnp.float32(1.5), "accuracy": np.float64(0.25)})
        log.write(4, 1.0, "validation", {"loss": 2})
    first, second = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert first.pop("time") > 1.6e9
    assert first == {
        "stage": "search", "split": "train", "step": 3, "epoch": 0.5, "loss": 1.5, "accuracy": 0.25
    }  # fmt: skip
    assert second["split"] == "validation"
    scalars = {(e.step, v.tag): v.simple_value for e in events(tmp_path, "search") for v in e.summary.value}
    assert scalars == {(3, "train/loss"): 1.5, (3, "train/accuracy"): 0.25, (4, "validation/loss"): 2.0}


def test_what_is_not_finite_becomes_null(tmp_path):
    with MetricsLog(tmp_path, "train") as log:
        log.write(1, 0.1, "train", {"loss": float("nan"), "kl": float("inf"), "accuracy": 0.5})
    text = (tmp_path / "metrics.jsonl").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["loss"] is None and record["kl"] is None and record["accuracy"] == 0.5
    assert [v.tag for e in events(tmp_path, "train") for v in e.summary.value] == ["train/accuracy"]


def steps(workdir) -> list[tuple[str, int]]:
    return [(record["stage"], record["step"]) for record in metrics_of(workdir)]


def test_a_resumed_stage_has_no_step_twice(tmp_path):
    for stage in ("teacher", "search"):
        with MetricsLog(tmp_path, stage) as log:
            for step in (1, 2, 3):
                log.write(step, step, "train", {"loss": 1.0})
    with MetricsLog(tmp_path, "search") as log:
        log.rewind(1)
        log.write(2, 2, "train", {"loss": 2.0})
    assert steps(tmp_path) == [("teacher", 1), ("teacher", 2), ("teacher", 3), ("search", 1), ("search", 2)]
    assert metrics_of(tmp_path)[-1]["loss"] == 2.0
    starts = [event.step for event in events(tmp_path, "search") if event.HasField("session_log")]
    assert starts == [2]  # TensorBoard hides what came from this step on before


@pytest.mark.parametrize("rewound", [True, False])
def test_a_torn_last_line_is_cut(tmp_path, rewound):
    with MetricsLog(tmp_path, "train") as log:
        log.write(1, 1, "train", {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"stage": "train", "split": "tr')
    assert steps(tmp_path) == [("train", 1)]
    with MetricsLog(tmp_path, "train") as log:
        if rewound:
            log.rewind(1)
        log.write(2, 2, "train", {"loss": 1.0})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
    ]


def test_rewinding_before_the_first_write_makes_nothing(tmp_path):
    with MetricsLog(tmp_path / "run", "train") as log:
        log.rewind(0)
    assert not (tmp_path / "run").exists()
    assert metrics_of(tmp_path / "run") == []


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    with MetricsLog(tmp_path, "train") as log:
        log.write(1, 1, "train", {"loss": 1.0})
    before = (tmp_path / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with MetricsLog(tmp_path, "train") as log:
        log.rewind(0)
        log.write(2, 2, "train", {"loss": 1.0})
    assert (tmp_path / "metrics.jsonl").read_bytes() == before

"""Reading a work directory: broken files are named, unfinished ones are not mistaken for broken."""

import json

import numpy as np
import pytest

from rnas.pages import write_report
from rnas.pages.record import read_record


@pytest.mark.parametrize("name", ["config.json", "run.json", "architecture.json", "evaluation.json"])
@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]", b"\xff\xfe"])
def test_unreadable_json_is_named(write_run, name, content):
    workdir = write_run()
    (workdir / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=name):
        write_report(workdir)


def test_a_broken_line_of_metrics_is_named(write_run):
    workdir = write_run()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    lines[2] = lines[2][:10]
    (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3,"):
        write_report(workdir)


def test_a_line_of_metrics_without_step_is_named(write_run):
    workdir = write_run()
    (workdir / "metrics.jsonl").write_text('{"stage": "train", "split": "train", "loss": 1.0}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1, lacks step"):
        write_report(workdir)


def test_a_line_still_being_written_is_no_error(write_run):
    workdir = write_run()
    before = read_record(workdir).metrics
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "train", "spl')
    assert read_record(workdir).metrics == before


def test_steps_written_again_by_a_resumed_run_count_once(write_run):
    workdir = write_run()
    rows = [
        {"stage": "train", "split": "train", "step": step, "loss": loss}
        for step, loss in ((0, 9), (2, 8), (1, 7), (2, 6))
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_record(workdir).metrics["train", "train"]
    assert [(row["step"], row["loss"]) for row in read] == [(0, 9), (1, 7), (2, 6)]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a directory"):
        write_report(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no run"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tutors": ["conv1", "conv1", "nowhere"]}, "nowhere"),
        ({"tutors": ["conv1"]}, "got 1 tutors"),
        ({"tutor_probabilities": [[1.0]]}, "expected 3 rows of length 2"),
    ],
)
def test_an_architecture_that_contradicts_itself_is_named(write_run, architecture, change, message):
    with pytest.raises(ValueError, match=message) as error:
        write_report(write_run(architecture=architecture | change))
    assert "architecture.json" in str(error.value)


def test_broken_arrays_are_named(write_run):
    workdir = write_run()
    for content in (b"PK\x03\x04 no archive", b""):
        (workdir / "adversarial.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"adversarial\.npz"):
            write_report(workdir)
    np.savez(workdir / "adversarial.npz", images=np.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"adversarial\.npz"):
        write_report(workdir)


def test_status_of_a_stage(write_run):
    stages = {"train": {"status": "running"}, "teacher": {"status": "complete"}}
    config = {"finetune": {"epochs": 0}, "baselines": ["plain"]}
    record = read_record(write_run(without=["evaluation.json"], run={"stages": stages}, config=config))
    expected = {
        "teacher": "complete",
        "search": "complete",  # it left an architecture
        "derive": "complete",
        "train": "unfinished",
        "finetune": "not asked for",
        "baselines": "unfinished",  # only metrics of theirs
        "evaluate": "not run",
    }
    assert {stage: record.status(stage) for stage in expected} == expected

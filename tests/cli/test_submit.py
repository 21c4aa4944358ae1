"""Workers on engines that exist: what is printed for them, and what is started through submitit."""

import contextlib
import json
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import threading
import time

import pytest
import yaml

from rnas.artifacts.table_results import merge
from rnas.cli.submit import Worker
from rnas.main import main

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "robbench" / "digits.py"
TRAIN = ["tabular", "train", f"--config={DIGITS}", "--workdir=/runs/a b", "--config.archs=('9930',)"]


def test_a_kubernetes_job_has_as_many_equal_workers(capsys):
    assert main(["submit", "--to=k8s", "--workers=3", "--gpus=2", "--image=me/rnas:1", *TRAIN]) == 0
    job = yaml.safe_load(capsys.readouterr().out)
    assert job["kind"] == "Job" and job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == TRAIN and container["image"] == "me/rnas:1"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    # The exit code of a mistake ends the job.
    assert job["spec"]["podFailurePolicy"]["rules"][0] == {
        "action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]},
    }  # fmt: skip
    assert main(["submit", "--to=k8s", *TRAIN]) == 0
    (container,) = yaml.safe_load(capsys.readouterr().out)["spec"]["template"]["spec"]["containers"]
    assert "resources" not in container


@pytest.mark.parametrize("gpus, accelerator", [(0, "cpu"), (1, "cuda13")])
def test_a_task_of_skypilot_is_one_worker(capsys, gpus, accelerator):
    assert main(["submit", "--to=sky", f"--gpus={gpus}", *TRAIN]) == 0
    task = yaml.safe_load(capsys.readouterr().out)
    assert task["setup"] == f"launch/environment.sh {accelerator}" and task["workdir"] == "."
    assert shlex.split(task["run"]) == ["launch/again.sh", ".venv/bin/rnas", *TRAIN]
    assert ("accelerators" in task["resources"]) == bool(gpus)


@pytest.mark.parametrize(
    "words, message",
    [
        (["run", f"--config={DIGITS}"], "run --config=.*: expected tabular train, study or sweep"),
        (["tabular", "merge", "a", "--output=b"], "expected tabular train, study or sweep"),
        ([], "nothing: expected tabular train"),
    ],
)
def test_only_commands_that_share_their_work_are_submitted(capsys, words, message):
    assert main(["submit", "--to=local", *words]) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown)


def test_a_mistake_in_the_command_is_found_at_once(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["submit", "--to=local", "study", "--confg=a.py"])
    assert refused.value.code == 2 and "unknown argument '--confg=a.py'" in capsys.readouterr().err


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A worker whose command is a shell script in place of rnas."""

    def make(text: str) -> Worker:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return Worker(["study", "--config=a.py"])

    return make


def test_a_worker_runs_its_command_until_it_is_done(program, tmp_path):
    worker = program('echo "$@" >> said; [ $(wc -l < said) -ge 3 ] || exit 75')
    assert worker() == 0
    assert (tmp_path / "said").read_text().splitlines() == ["-m rnas.main study --config=a.py"] * 3


def test_a_worker_whose_command_fails_fails(program):
    with pytest.raises(RuntimeError, match="rnas study --config=a.py ended with exit code 2"):
        program("exit 2")()


def test_a_worker_at_its_time_limit_lets_the_command_save(program, tmp_path):
    worker = program('trap "echo saved > end; exit 75" TERM; echo > began; sleep 60 & wait')

    def run():
        with contextlib.suppress(RuntimeError):  # that it did not finish
            worker()

    thread = threading.Thread(target=run)
    thread.start()
    while not (tmp_path / "began").exists():
        time.sleep(0.02)
    time.sleep(0.2)
    again = worker.checkpoint()
    assert (tmp_path / "end").read_text() == "saved\n"
    assert again.function.words == worker.words and again.function is not worker
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.mark.slow
def test_local_workers_share_a_table(tmp_path):
    train = [
        "tabular", "train", f"--config={DIGITS}", f"--workdir={tmp_path / 'table'}",
        "--config.archs=('333133','132013')",
        "--config.seeds=(0,)", "--config.train.epochs=2", "--config.adversarial.steps=1",
        "--config.train.batch_size=256", "--config.evaluation.count=100", "--config.evaluation.batch_size=100",
    ]  # fmt: skip
    command = [sys.executable, "-m", "rnas.main", "submit", "--to=local", "--workers=2", f"--log={tmp_path / 'log'}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *train], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("2 workers: "), done.stderr
    until = time.monotonic() + 900
    while len(list((tmp_path / "table" / "results").glob("*.json"))) < 2:
        assert time.monotonic() < until, [path.read_text() for path in tmp_path.glob("log/*/*.err")]
        time.sleep(1)
    assert set(json.loads(json.dumps(merge([tmp_path / "table"]).to_json()))["digits"]) == {"1000", "9930"}

"""Real processes that share a run: what one does, two do; what is killed goes on; nobody waits for the dead."""

import json
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import time

from processes import STAGES, WAIT, ended, reaches, run, same_run, start, steps_of
import pytest

# Adam divides by the size of a gradient: that of a bias ahead of a BatchNorm is rounding alone, and moves it by whole
# steps, whose direction the order of a sum decides.
SGD = [f"--config.{name}.name=sgd" for name in ("search.optimizer", "search.arch_optimizer", "train.optimizer")]


def working_on(parent: subprocess.Popen) -> int:
    """The process that works, the child of the one that watches it."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    until = time.monotonic() + WAIT
    while not (found := children.read_text().split()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(found[0])


@pytest.mark.slow
def test_two_processes_run_everything_as_one_does(mini, tmp_path):
    """Attack included, and once again where all is done."""
    run(["run", *mini, *SGD, f"--workdir={tmp_path / 'one'}"], 1, 4)
    run(["run", *mini, *SGD, f"--workdir={tmp_path / 'two'}"], 2, 2)
    same_run(tmp_path / "one", tmp_path / "two", atol=1e-5)
    run(["run", f"--workdir={tmp_path / 'two'}"], 2, 2)
    attack = ["attack", f"--workdir={tmp_path / 'two'}", "--attack=pgd_20,square", "--epsilon=0.1", "--count=21"]
    found = []
    for processes, devices in ((1, 2), (2, 2), (3, 1)):
        folder = tmp_path / f"attack_{processes}"
        run([*attack, f"--output={folder}", "--tolerate-failed-checks"], processes, devices)
        summary = json.loads((folder / "attack.json").read_text())
        assert summary["clean"]["count"] == summary["robust"]["count"] == 21
        found.append([summary[name]["accuracy"] for name in ("clean", "robust")])
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_one_of_two_is_killed_in_every_stage(mini, tmp_path):
    """The other ends by itself, says so, and the run goes on to the end of an undisturbed one."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    run(["run", *mini, f"--workdir={undisturbed}"], 2, 2)
    chance = random.Random(0)
    command = ["run", *mini, f"--workdir={disturbed}"]
    for number, stage in enumerate((*STAGES, "evaluate", "auto_attack")):
        victim = number % 2
        processes = start(command, 2, 2)
        reaches(processes, disturbed, stage)
        time.sleep(chance.uniform(0, 0.3))
        os.kill(working_on(processes[victim]), signal.SIGKILL)
        began = time.monotonic()
        for index, (code, said) in enumerate(ended(processes)):
            assert code == os.EX_TEMPFAIL, said
            why = "ended by SIGKILL" if index == victim else "lost another process"
            assert f"rnas: {socket.gethostname()}, process " in said and why in said, said
            assert "it was at: " in said and "To go on, on all hosts:" in said
        assert time.monotonic() - began < 130  # the service that counts processes waits 100 s for a sign of life
    run(command, 2, 2)
    same_run(undisturbed, disturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, os.EX_TEMPFAIL), (signal.SIGINT, 130)])
def test_a_signal_to_one_stops_both_with_a_checkpoint(mini, tmp_path, number, code):
    command = ["search", *mini, "--config.search.epochs=200", f"--workdir={tmp_path / 'run'}"]
    processes = start(command, 2, 1)
    reaches(processes, tmp_path / "run", "search")
    processes[1].send_signal(number)
    for found, said in ended(processes):
        assert found == code, said
        assert "lost" not in said
    step = steps_of(tmp_path / "run", "search")
    assert f"stage 'search' was interrupted and saved at step {step}." in said
    assert step < 2000


@pytest.mark.slow
def test_a_process_that_hangs_is_ended(mini, tmp_path):
    command = ["search", *mini, "--config.search.epochs=200", f"--workdir={tmp_path / 'run'}", "--watchdog=100"]
    processes = start(command, 2, 1)
    reaches(processes, tmp_path / "run", "search")
    os.kill(working_on(processes[1]), signal.SIGSTOP)
    for code, said in ended(processes):
        assert code == os.EX_TEMPFAIL and "To go on, on all hosts:" in said, said
        assert "no sign of life for 100 s" in said or "lost another process" in said


@pytest.mark.slow
def test_processes_that_see_different_folders_are_told(mini, tmp_path):
    own = [f"--workdir={tmp_path / name}" for name in ("here", "there")]
    for code, said in ended(start(["search", *mini], 2, 1, *own)):
        assert code == 2 and f"process 1 ({socket.gethostname()}) does not see what process 0" in said, said


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(mini, tmp_path):
    """Stopped inside three stages, from one device to four, two, and one again."""
    settings = [*mini, *SGD]
    run(["run", *settings, f"--workdir={tmp_path / 'same'}"], 1, 1)
    command = ["run", *settings, f"--workdir={tmp_path / 'other'}"]
    for stage, devices in (("teacher", 1), ("search", 4), ("train", 2)):
        (process,) = start(command, 1, devices)
        reaches([process], tmp_path / "other", stage)
        process.send_signal(signal.SIGTERM)
        ((code, said),) = ended([process])
        assert code == os.EX_TEMPFAIL, said
    run(command, 1, 1)
    same_run(tmp_path / "same", tmp_path / "other", atol=1e-5)

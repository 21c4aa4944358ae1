"""Real processes that share a run: what one does, two do; what is killed goes on; nobody waits for the dead."""

from collections.abc import Sequence
import json
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import sys
import time

import chex
import pytest
from small_run import MINI

from rnas.artifacts.outcomes import Outcomes
from rnas.config.load import recorded_config
from rnas.runs.stages import open_run
from rnas.runs.trained_models import evaluated_model

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("teacher", "search", "train", "baseline_plain")
WAIT = 1200  # seconds; a busy machine compiles for minutes


@pytest.fixture
def mini(tmp_path) -> list[str]:
    """The arguments that name a configuration and its data."""
    (tmp_path / "mini.py").write_text(
        MINI.replace("evaluation.auto_attack = ()", 'evaluation.auto_attack = ("student",)')
    )
    return [f"--config={tmp_path / 'mini.py'}", f"--config.data.dir={tmp_path / 'data'}"]


def start(arguments: Sequence[str], processes: int, devices: int, *own: str) -> list[subprocess.Popen]:
    """Starts `rnas` in some processes that work together, each with some devices and arguments of its `own`."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"--coordinator=localhost:{probe.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache" / "processes")}
    environment |= {"PYTHONPATH": str(ROOT)}
    several = [
        [coordinator, f"--processes={processes}", f"--process-id={index}", *own[index : index + 1]]
        for index in range(processes)
    ]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "rnas.main", *arguments, *(words if processes > 1 else [])],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for words in several
    ]  # fmt: skip


def ended(processes: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit code and standard error of each."""
    try:
        said = [process.communicate(timeout=WAIT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def run(arguments: Sequence[str], processes: int, devices: int) -> None:
    for code, said in ended(start(arguments, processes, devices)):
        assert code == 0, said


def working_on(parent: subprocess.Popen) -> int:
    """The process that works, the child of the one that watches it."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    until = time.monotonic() + WAIT
    while not (found := children.read_text().split()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(found[0])


def steps_of(workdir: Path, stage: str) -> int:
    """The last step of a stage that is on disk, -1 for none."""
    names = [path.name for path in (workdir / "checkpoints" / stage).glob("*")]
    return max((int(name) for name in names if name.isdigit()), default=-1)


def reaches(processes: Sequence[subprocess.Popen], workdir: Path, stage: str) -> None:
    """Returns once the stage has a checkpoint; for `evaluate`, once an attack on a model is finished."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        if stage == "evaluate" and any((workdir / "evaluation").glob("*.npz")):
            return
        if stage == "auto_attack" and any((workdir / "attacks").glob("*/ledger/*/*.npz")):
            return
        if steps_of(workdir, stage) >= 0:
            return
        time.sleep(0.02)
    raise AssertionError(f"{stage} did not begin")


def same_run(one: Path, other: Path, atol: float) -> None:
    """Asserts that two directories hold the same architecture, weights up to rounding, and as many examples."""
    architectures = [json.loads((workdir / "architecture.json").read_text()) for workdir in (one, other)]
    assert architectures[0] == architectures[1]
    runs = [open_run(recorded_config(workdir), workdir) for workdir in (one, other)]
    for model in ("student", "baseline_plain", "teacher"):
        weights = [evaluated_model(each, model).variables for each in runs]
        chex.assert_trees_all_close(*weights, atol=atol, rtol=0)
        outcomes = [Outcomes.read(workdir / "evaluation" / f"{model}.npz") for workdir in (one, other)]
        outcomes[0].check_same_images(outcomes[1])
        assert outcomes[0].right.keys() == outcomes[1].right.keys()


@pytest.mark.slow
def test_two_processes_run_everything_as_one_does(mini, tmp_path):
    """Attack included, and once again where all is done."""
    run(["run", *mini, f"--workdir={tmp_path / 'one'}"], 1, 4)
    run(["run", *mini, f"--workdir={tmp_path / 'two'}"], 2, 2)
    same_run(tmp_path / "one", tmp_path / "two", atol=1e-5)
    run(["run", f"--workdir={tmp_path / 'two'}"], 2, 2)
    attack = ["attack", f"--workdir={tmp_path / 'two'}", "--attack=pgd_20,square", "--epsilon=0.1", "--count=21"]
    found = []
    for processes, devices in ((1, 2), (2, 2), (3, 1)):
        folder = tmp_path / f"attack_{processes}"
        run([*attack, f"--output={folder}", "--tolerate-failed-checks"], processes, devices)
        summary = json.loads((folder / "attack.json").read_text())
        assert summary["clean"]["count"] == summary["robust"]["count"] == 21
        found.append([summary[name]["right"] for name in ("clean", "robust")])
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
    same_run(undisturbed, disturbed, atol=0)


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

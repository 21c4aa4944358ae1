"""The launchers on a real Slurm of two nodes: jobs over both, queued again with their state saved, arrays, workers."""

import getpass
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import time

from processes import STAGES, WAIT, run, same_run, steps_of
import pytest

from rnas.artifacts.table_results import merge

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache" / "processes"),
    "ACCELERATOR": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Jobs use the environment of the checkout, and install nothing."""
    subprocess.run(["launch/environment.sh", "cpu"], cwd=ROOT, check=True)


@pytest.fixture(autouse=True)
def nothing_is_left(slurm):
    """A job of a test that failed would keep both nodes."""
    yield
    slurm("scancel", "--user", getpass.getuser())


def submitted(slurm, folder: Path, script: str, *words: str, options: tuple[str, ...] = ()) -> str:
    """The id of a job."""
    log = f"--output={folder}/%j-%a.log"
    said = slurm("sbatch", "--parsable", log, *options, f"launch/{script}", *words, cwd=ROOT, **VARIABLES)
    return said.partition(";")[0]


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.glob("*.log"))


def test_a_job_of_two_nodes_is_queued_again_and_ends_as_an_undisturbed_one(slurm, mini, tmp_path):
    """It is asked to save its state in the middle of the search; both processes stop at the same step."""
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    workdir = tmp_path / "run"
    words = [*mini, f"--workdir={workdir}"]
    job = submitted(slurm, tmp_path, "slurm.sbatch", *words, options=("--nodes=2",))
    until = time.monotonic() + WAIT
    while steps_of(workdir, STAGES[1]) < 0:
        assert slurm.states(job)[0] in ("PENDING", "RUNNING") and time.monotonic() < until, logs(tmp_path)
        time.sleep(0.1)
    slurm("scancel", "--signal=TERM", job)  # as Slurm does three minutes before the time limit
    assert slurm.wait(job, WAIT) == ["COMPLETED"], logs(tmp_path)
    said = logs(tmp_path)
    assert "the job is queued again" in said and "SIGTERM" in said
    assert int(re.search(r"Restarts=(\d+)", slurm("scontrol", "show", "job", job))[1]) == 1
    record = json.loads((workdir / "run.json").read_text())
    assert all(stage["status"] == "complete" for stage in record["stages"].values())
    assert record["stages"]["search"]["starts"] == 2 and record["devices"] == 2
    run(["run", *mini, f"--workdir={tmp_path / 'undisturbed'}"], 2, 1)
    same_run(tmp_path / "undisturbed", workdir)


def test_an_array_has_a_seed_a_job(slurm, mini, tmp_path):
    few = ["--config.baselines=()", "--config.evaluation.attacks=pgd_100", "--config.evaluation.curve=()"]
    few += ["--config.evaluation.auto_attack=()"]
    words = [*mini, *few, f"--workdir={tmp_path / 'runs'}"]
    job = submitted(slurm, tmp_path, "slurm.sbatch", *words, options=("--array=3-4", "--cpus-per-task=4"))
    assert slurm.wait(job, WAIT) == ["COMPLETED"] * 2, logs(tmp_path)
    for seed in (3, 4):
        folder = tmp_path / "runs" / f"seed_{seed}"
        assert json.loads((folder / "config.json").read_text())["seed"] == seed
        assert (folder / "report.html").exists()


def test_submitted_workers_share_a_table(slurm, tmp_path):
    train = [
        "tabular", "train", f"--config={ROOT / 'configs' / 'robbench' / 'digits.py'}",
        f"--workdir={tmp_path / 'table'}", "--config.archs=('333133','132013')", "--config.seeds=(0,)",
        "--config.train.epochs=2", "--config.adversarial.steps=1", "--config.train.batch_size=256",
        "--config.evaluation.count=100", "--config.evaluation.batch_size=100",
    ]  # fmt: skip
    command = [sys.executable, "-m", "rnas.main", "submit", "--to=slurm", "--workers=2", f"--log={tmp_path / 'log'}"]
    said = slurm(*command, *train, cwd=ROOT, PYTHONPATH=str(ROOT), **VARIABLES)
    job = re.search(r"2 workers: (\d+)_", said)[1]
    states = slurm.wait(job, WAIT)
    assert states == ["COMPLETED"] * 2, [path.read_text() for path in tmp_path.glob("log/*/*.err")]
    assert set(merge([tmp_path / "table"]).to_json()["digits"]) == {"1000", "9930"}

"""What disks, users and clocks do to a run: it says what is wrong, goes on, and ends as if nothing had been."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import subprocess
import time

from processes import ROOT, WAIT, ended, run, same_run, start
import pytest

from rnas.artifacts.run_record import RunRecord

pytestmark = pytest.mark.slow
FILLED = ("teacher", "search", "train", "baselines", "evaluate")  # stages of `run.json`


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path):
        self.folder = folder

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", self.folder], check=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Holds all that is left of it, to the last block."""
        ballast = self.folder / "ballast"
        with open(ballast, "wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Disk(folder)
    try:
        made.mount("size=64m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield made
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def undisturbed(mini, tmp_path) -> Path:
    workdir = tmp_path / "undisturbed"
    run(["run", *mini, f"--workdir={workdir}"], 1, 1)
    return workdir


def begins(process: subprocess.Popen, workdir: Path, stage: str) -> None:
    """Returns once a stage runs."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        with contextlib.suppress(OSError, ValueError):
            if stage in (stages := RunRecord.read(workdir / "run.json").stages) and stages[stage].status == "running":
                return
        time.sleep(0.02)
    raise AssertionError(f"{stage} did not begin")


def test_a_disk_that_fills_in_every_stage(disk, mini, undisturbed):
    workdir = disk.folder / "run"
    command = ["run", *mini, f"--workdir={workdir}"]
    for stage in FILLED:
        (process,) = start(command, 1, 1)
        begins(process, workdir, stage)
        with disk.full():
            ((code, said),) = ended([process])
            assert code == 2 and "No space left on device" in said and str(workdir) in said.splitlines()[-1], said
            ((code, said),) = ended(start(command, 1, 1))  # still full
            assert code == 2 and "No space left on device" in said.splitlines()[-1], said
    run(command, 1, 1)
    same_run(undisturbed, workdir)


def test_a_disk_that_became_read_only(disk, mini, undisturbed):
    workdir = disk.folder / "run"
    command = ["run", *mini, f"--workdir={workdir}"]
    for stage in ("search", "evaluate"):
        (process,) = start(command, 1, 1)
        begins(process, workdir, stage)
        process.kill()
        ended([process])
        with disk.read_only():
            ((code, said),) = ended(start(command, 1, 1))
            assert code == 2 and "Read-only file system" in said.splitlines()[-1], said
            assert ended(start(["status", f"--workdir={workdir}"], 1, 1))[0][0] == 0
    run(command, 1, 1)
    same_run(undisturbed, workdir)


# Root without its right to pass over the permissions of files is a user like any other.
OTHER_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give a folder away")
def test_the_directory_of_another_user(mini, tmp_path):
    workdir = tmp_path / "run"
    run(["search", *mini, f"--workdir={workdir}"], 1, 1)
    everything = [workdir, *workdir.rglob("*")]
    for path in everything:
        os.chown(path, 65534, 65534)
    before = {path: path.stat().st_mtime_ns for path in everything}
    ((code, said),) = ended(start(["run", f"--workdir={workdir}"], 1, 1, before=OTHER_USER))
    assert code == 2 and "Permission denied" in said.splitlines()[-1] and str(workdir) in said, said
    for reading in (["status", f"--workdir={workdir}"], ["describe", f"--workdir={workdir}"]):
        ((code, said),) = ended(start(reading, 1, 1, before=OTHER_USER))
        assert code == 0, said
    assert {path: path.stat().st_mtime_ns for path in everything} == before


CLOCK = """
import itertools, time
_clock, _calls = time.time, itertools.count()
time.time = lambda: _clock() + (0, -86400, 86400, 3e8)[next(_calls) // 200 % 4]
"""


def test_a_clock_that_jumps_by_days_and_years(mini, undisturbed, tmp_path):
    """Where it jumps while a checkpoint is written the run may end, with the checkpoints before it, and goes on."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    workdir = tmp_path / "jumping"
    variables = {"PYTHONPATH": f"{tmp_path / 'clock'}{os.pathsep}{ROOT}"}
    for _ in range(10):
        ((code, said),) = ended(start(["run", *mini, f"--workdir={workdir}"], 1, 1, variables=variables))
        if code == 0:
            break
        assert code == 2 and "the checkpoints before it are intact" in said, said
    assert code == 0
    same_run(undisturbed, workdir)

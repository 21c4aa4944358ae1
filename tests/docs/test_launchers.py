"""The launch scripts: their help, an environment that is ready, and one that cannot be made."""

import os
from pathlib import Path
import pty
import shutil
import subprocess

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "launch").iterdir() if path.suffix in (".sh", ".sbatch"))
STARTED = [script for script in SCRIPTS if script != "environment.sh"]  # that one is sourced by the others


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout of the launchers alone, in which nothing is installed."""
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    shutil.copy(ROOT / "setup.py", tmp_path)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ready(checkout: Path) -> None:
    """Makes an environment that looks complete."""
    program(checkout / ".venv" / "bin" / "python", "echo 12345")
    (checkout / ".venv" / "rnas-accelerator").write_text("cpu\n")
    stamp = subprocess.run("cksum < setup.py", cwd=checkout, shell=True, capture_output=True, text=True).stdout
    (checkout / ".venv" / "rnas-installed").write_text(stamp)


def launch(checkout: Path, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": f"{checkout / 'path'}:{os.environ['PATH']}"}
    command = ["bash", *words]
    return subprocess.run(command, cwd=folder or checkout, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", STARTED)
def test_help_installs_nothing(checkout, script):
    assert os.access(ROOT / "launch" / script, os.X_OK)
    for option in ("--help", "-h"):
        done = launch(checkout, f"launch/{script}", option)
        assert done.returncode == 0 and done.stderr == ""
        first = (ROOT / "launch" / script).read_text().splitlines()[1]
        assert done.stdout.splitlines()[0] == first.removeprefix("# ") and "#" not in done.stdout
    assert not (checkout / ".venv").exists()


def test_a_finished_environment_is_used_as_it_is(checkout):
    """Nothing is locked or written: the checkout may be read-only."""
    ready(checkout)
    program(checkout / ".venv" / "bin" / "rnas", 'echo "$@"')
    program(checkout / "path" / "flock", "echo locked >&2; exit 1")
    done = launch(checkout, "launch/local.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run --config=configs/rnas_cl/digits.py --workdir=runs/rnas_cl/digits\n"
    done = launch(checkout, "../launch/local.sh", folder=checkout / "path")  # from elsewhere
    paths = [f"--config={checkout}/configs/rnas_cl/digits.py", f"--workdir={checkout}/runs/rnas_cl/digits"]
    assert done.stdout.split() == ["run", *paths]


@pytest.mark.parametrize(
    "ends, code", [("exit 0", 0), ("exit $((75 * ($5 == 1)))", 75), ("exit $(($5 == 0 ? 2 : 75))", 2)]
)
def test_several_processes_share_one_machine(checkout, ends, code):
    """What stopped one of them counts for more than that the others lost it."""
    ready(checkout)
    program(checkout / ".venv" / "bin" / "rnas", f'echo "$@"\nset -- 1 2 3 4 "${{6#*=}}"\n{ends}')
    done = launch(checkout, "launch/local.sh", "--processes=3", "--config=a.py", "--workdir=w")
    assert done.returncode == code and done.stderr == ""
    started = sorted(line.split() for line in done.stdout.splitlines())
    assert [words[:3] for words in started] == [["run", "--config=a.py", "--workdir=w"]] * 3
    assert len({words[3] for words in started}) == 1 and started[0][3].startswith("--coordinator=localhost:")
    assert [words[4:] for words in started] == [["--processes=3", f"--process-id={index}"] for index in range(3)]


def test_what_pip_cannot_do_is_one_line_after_its_own(checkout):
    program(checkout / ".venv" / "bin" / "python", 'case "$*" in *pip*install*) echo no such host >&2; exit 1 ;; esac')
    done = launch(checkout, "launch/local.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "no such host",
        "error: pip failed, see above; is there a network? Start this again to go on.",
    ]
    assert not (checkout / ".venv" / "rnas-installed").exists()


def test_after_installing_it_tells_how_to_call_the_command(checkout):
    program(checkout / ".venv" / "bin" / "python", "exit 0")
    program(checkout / ".venv" / "bin" / "rnas", "exit 0")
    shown = launch(checkout, "launch/local.sh").stderr
    assert f"The command is {checkout}/.venv/bin/rnas." in shown
    assert f"\n  source {checkout}/.venv/bin/activate\n" in shown


def test_on_a_terminal_it_goes_on_after_installing(checkout):
    """There a clock ticks meanwhile, whose end is no failure."""
    program(checkout / ".venv" / "bin" / "python", 'case "$*" in *pip*install*) sleep 1.5 ;; esac')
    program(checkout / ".venv" / "bin" / "rnas", "echo it runs >&2")
    terminal, inside = pty.openpty()
    done = subprocess.run(
        ["bash", "launch/local.sh"], cwd=checkout, stdin=inside, stderr=inside, timeout=60, check=False
    )
    os.close(inside)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert done.returncode == 0 and "\r0:01 " in shown and shown.endswith("it runs\r\n")

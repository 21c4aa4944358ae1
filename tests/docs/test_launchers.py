"""The launch scripts: their help, an environment that is ready, and one that cannot be made."""

import os
from pathlib import Path
import pty
import shlex
import shutil
import subprocess
import time

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "launch").iterdir() if path.suffix in (".sh", ".sbatch"))


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


def launch(checkout: Path, *words: str, folder: Path | None = None, **more: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": f"{checkout / 'path'}:{os.environ['PATH']}", **more}
    command = ["bash", *words]
    return subprocess.run(command, cwd=folder or checkout, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
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


JOB = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_NUM_NODES": "2"}
WORDS = {
    "slurm.sbatch": ("--config=a.py", "--workdir=w"),
    "table.sbatch": ("--config=a.py", "--workdir=w"),
}


@pytest.mark.parametrize("script", WORDS)
def test_a_job_installs_nothing(checkout, script):
    program(checkout / ".venv" / "bin" / "python", "echo installed >&2; exit 1")
    done = launch(checkout, f"launch/{script}", *WORDS[script], SLURM_SUBMIT_DIR=str(checkout), **JOB)
    assert done.returncode == 2
    assert done.stderr == (
        "error: .venv is not ready for cpu. Where there is a network, as on a login node, run first: "
        "launch/environment.sh cpu\n"
    )


@pytest.mark.parametrize("script", WORDS)
@pytest.mark.parametrize("code, restarts, queued", [(0, 0, False), (2, 0, False), (75, 0, True), (75, 100, False)])
def test_a_job_that_wants_to_go_on_is_queued_again(checkout, script, code, restarts, queued):
    """What a run could not finish, not what is a mistake; and not for ever."""
    ready(checkout)
    program(checkout / "path" / "srun", f'echo "$@"\nexit {code}')
    program(checkout / "path" / "scontrol", 'echo "$@"')
    job = {**JOB, "SLURM_SUBMIT_DIR": str(checkout), "SLURM_RESTART_COUNT": str(restarts)}
    done = launch(checkout, f"launch/{script}", *WORDS[script], **job)
    assert done.returncode == code
    started, *after = done.stdout.splitlines()
    assert after == (["requeue 7"] if queued else [])
    own = {
        "slurm.sbatch": "run --distributed --config=a.py --workdir=w/seed_2 --config.seed=2",
        "table.sbatch": "tabular train --config=a.py --workdir=w",
    }
    assert started.endswith(f".venv/bin/rnas {own[script]}")


def test_a_node_with_gpus_wants_their_environment_and_uses_all(checkout):
    ready(checkout)
    job = {**JOB, "SLURM_SUBMIT_DIR": str(checkout), "SLURM_GPUS_ON_NODE": "4"}
    done = launch(checkout, "launch/slurm.sbatch", *WORDS["slurm.sbatch"], **job)
    assert done.returncode == 2 and "launch/environment.sh cuda13" in done.stderr
    (checkout / ".venv" / "rnas-accelerator").write_text("cuda13\n")
    program(checkout / "path" / "srun", 'echo "$JAX_LOCAL_DEVICE_IDS"')
    assert launch(checkout, "launch/slurm.sbatch", *WORDS["slurm.sbatch"], **job).stdout == "0,1,2,3\n"


@pytest.mark.parametrize("installed", [True, False])
def test_where_no_python_fits_uv_fetches_one(checkout, installed):
    """As on the images of TPU hosts. Where uv is not installed, the pip of the old Python gets it."""
    made = ".venv/bin/python"
    uv = f'echo "uv $*" >&2; mkdir -p .venv/bin; printf "#!/bin/sh\nexit 0\n" > {made}; chmod +x {made}'
    program(checkout / ("path/uv" if installed else "uv"), uv)
    get = f'mkdir -p .venv.uv/bin; cp {checkout}/uv .venv.uv/bin/uv; echo "pip $*" >&2'
    old = f'case "$*" in --version) echo Python 3.10.1 ;; *pip*uv*) {get} ;; *) exit 1 ;; esac'
    for name in ("python3", "python3.11", "python3.12"):
        program(checkout / "path" / name, old if name == "python3" else "exit 1")
    done = launch(checkout, "launch/environment.sh", "cpu")
    assert done.returncode == 0, done.stderr
    assert "(python3: Python 3.10.1): uv gets one" in done.stderr
    assert "uv venv --quiet --seed --clear --python 3.12 .venv" in done.stderr
    assert ("pip -m pip install" in done.stderr) is not installed
    assert (checkout / ".venv" / "rnas-accelerator").read_text() == "cpu\n"


@pytest.mark.parametrize("code, times", [(0, 1), (2, 1), (75, 3)])
def test_a_run_that_wants_to_go_on_is_started_again(checkout, code, times):
    """Here it is done at the third start."""
    program(checkout / "path" / "work", f'echo "$@" >> starts; [ $(wc -l < starts) -ge 3 ] && exit 0; exit {code}')
    done = launch(checkout, "launch/again.sh", "work", "--on=a b", PAUSE="0")
    assert (checkout / "starts").read_text().splitlines() == ["--on=a b"] * times
    assert done.returncode == (0 if code == 75 else code)
    assert done.stderr.endswith(f"ended with exit code {done.returncode}\n")


def test_a_run_that_is_to_stop_is_not_started_again(checkout):
    program(checkout / "path" / "work", 'echo start >> starts; trap "exit 75" TERM; sleep 30 & wait')
    environment = {**os.environ, "PATH": f"{checkout / 'path'}:{os.environ['PATH']}", "PAUSE": "0"}
    process = subprocess.Popen(["bash", "launch/again.sh", "work"], cwd=checkout, env=environment)
    while not (checkout / "starts").exists():
        time.sleep(0.02)
    time.sleep(0.2)  # until the trap is set
    process.terminate()
    assert process.wait(timeout=20) == 75
    assert (checkout / "starts").read_text() == "start\n"


POD = {"TPU_NAME": "pod", "TPU_ZONE": "zone", "TPU_TYPE": "v5litepod-16", "TPU_VERSION": "v2-alpha-tpuv5-lite"}


@pytest.mark.parametrize(
    "words, does",
    [
        (
            ("create", "--spot"),
            ["queued-resources create pod --zone=zone --node-id=pod --accelerator-type=v5litepod-16"],
        ),
        (("run", "--config=a.py", "--workdir=/mnt/a b"), ["tpu-vm scp", "tpu-vm ssh"]),
        (
            ("keep", "--config=a.py", "--workdir=/mnt/w"),
            ["queued-resources create", "tpu-vm scp", "tpu-vm ssh", "tail"],
        ),
        (("logs",), ["--command=tail"]),
        (("status",), ["queued-resources describe pod", "kill\\ -0"]),
        (("stop",), ["kill\\ -TERM"]),
        (("delete",), ["queued-resources delete pod --zone=zone --force --quiet"]),
    ],
)
def test_a_dry_run_prints_what_a_pod_would_be_told(checkout, words, does):
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "a"], cwd=checkout, check=True)
    program(checkout / "path" / "gcloud", "echo called; exit 1")
    done = launch(checkout, "launch/tpu_pod.sh", "--dry-run", *words, **POD)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == len(does) and "called" not in told
    for line, part in zip(told, does, strict=True):
        assert line.startswith("gcloud compute tpus ") and part in line
    if words[0] == "run":
        # As the shell of a host reads it, where what the user typed is one word again.
        remote = shlex.split(told[1].replace("$'", "'"))[-1]
        assert "rnas run --distributed --config=a.py --workdir=/mnt/a" in remote and "launch/again.sh" in remote
    assert ("--spot" in done.stdout) == ("--spot" in words)


def test_a_pod_without_a_name_is_refused(checkout):
    done = launch(checkout, "launch/tpu_pod.sh", "--dry-run", "run", "--config=a.py")
    assert done.returncode != 0 and "TPU_NAME: set it to the name of the TPU slice" in done.stderr

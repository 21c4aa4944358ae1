"""What is printed: on which streams, how wide, and commands that run as printed."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from rnas.training import messages

ROOT = Path(__file__).resolve().parents[2]
TABLE = "--table=nowhere.json"


def rnas(command: str, **environment: str) -> subprocess.CompletedProcess:
    """A shell command in which `rnas` is this program."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **environment}
    shell = f"rnas() {{ '{sys.executable}' -m rnas.main \"$@\"; }}; set -o pipefail; {command}"
    return subprocess.run(["bash", "-c", shell], env=settings, cwd=ROOT, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    ("command", "code", "shown"),
    [
        ("rnas --version 2>&-", 0, b"rnas "),
        ("rnas tabular rank --table=nowhere.json 2>&-", 2, b""),
        ("rnas --version >&- 2>&-", 0, b""),
        ("rnas --help | true", 141, b""),
    ],
)
def test_streams_that_lead_nowhere(command, code, shown):
    done = rnas(command)
    assert done.returncode == code and done.stdout.startswith(shown) and done.stderr == b""


def test_a_closed_stream_does_not_become_the_next_file(tmp_path):
    """Else a library that writes to descriptor 2 writes into that file."""
    program = (
        "import os, sys; from rnas.training.messages import prepare_streams; prepare_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); os.write(2, b'noise'); sys.exit(file.fileno() < 3)"
    )
    done = rnas(f"'{sys.executable}' -c \"{program}\" 2>&-")
    assert done.returncode == 0 and (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_a_stream_lacks(encoding):
    program = "from rnas.training.messages import prepare_streams; prepare_streams(); print('8×8 ε = 0.1 漢')"
    done = rnas(f"'{sys.executable}' -c \"{program}\"", PYTHONIOENCODING=encoding)
    assert done.stderr == b""
    assert done.stdout.decode(encoding) == ("8x8 eps = 0.1 ?\n" if encoding == "ascii" else "8×8 eps = 0.1 ?\n")


def test_lines_break_between_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    message = (
        "the quick brown fox jumps over_the_lazy_dog and goes\n  rnas run --config=a/very/long/path.py --workdir=x"
    )
    messages.write(message)
    assert capsys.readouterr().err == f"{message}\n", "a pipe gets what was said"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    messages.write(message)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == message.splitlines()[-1], "a command stays whole"
    assert " ".join(lines[:-1]) == message.splitlines()[0] and max(map(len, lines[:-1])) < 30


def test_a_command_is_called_as_it_was(monkeypatch, tmp_path):
    own = tmp_path / ".venv" / "bin" / "rnas"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(own)])
    monkeypatch.setenv("PATH", os.defpath)
    assert messages.program() == ".venv/bin/rnas"
    monkeypatch.chdir(tmp_path.parent)
    assert messages.program() == os.path.relpath(own)
    monkeypatch.chdir(ROOT)
    assert messages.program() == str(own)
    monkeypatch.setenv("PATH", str(own.parent))
    assert messages.program() == "rnas"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "rnas" / "main.py")])
    monkeypatch.setattr(sys, "executable", "/a b/python3")
    assert messages.program() == "'/a b/python3' -m rnas.main"

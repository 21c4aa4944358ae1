"""One process of several and the one that watches it, with a small program in place of `rnas`."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from rnas.cli import platform
from rnas.cli.supervisor import is_one_of_several, leave, lost_others
from rnas.main import parse
from rnas.training import heartbeat

WATCHED = """
import os, signal, sys, time
from rnas.cli.supervisor import leave
from rnas.training.heartbeat import beat

def run():
    beat("search, step 3 of 9")
    {end}

sys.exit(leave(run))
"""
WATCHER = """
import sys
from rnas.cli.supervisor import supervise

sys.argv[0] = sys.argv[1]
sys.exit(supervise(["run", "--workdir=a b"], float(sys.argv[2])))
"""


@pytest.fixture
def watch(tmp_path):
    """Starts a watcher of a process that beats once and then runs a line of Python."""

    def start(end: str, patience: float = 60.0) -> subprocess.Popen:
        script = tmp_path / "rnas"
        script.write_text(WATCHED.format(end=end))
        command = [sys.executable, "-c", WATCHER, str(script), str(patience)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.parametrize("code", [0, 2, 3, 130, os.EX_TEMPFAIL])
def test_what_ends_by_itself_has_its_own_exit_code(watch, code):
    watcher = watch(f"return {code}")
    assert watcher.communicate(timeout=60) == ("", "") and watcher.returncode == code


@pytest.mark.parametrize(
    "end, why",
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
        ("os.abort()", "lost another process, or the connection to it"),
        ("raise ValueError('UNKNOWN: Gloo AllGather failed: reset by peer')", "lost another process"),
        ("time.sleep(600)", "no sign of life for 2 s (--watchdog=2); stopped"),
    ],
)
def test_what_is_lost_is_named_with_how_to_go_on(watch, end, why):
    watcher = watch(end, patience=2.0 if "sleep" in end else 60.0)
    last, command = watcher.communicate(timeout=60)[1].splitlines()[-2:]
    assert watcher.returncode == os.EX_TEMPFAIL
    assert last.startswith(f"rnas: {socket.gethostname()}, process ") and why in last
    assert "it was at: search, step 3 of 9." in last and last.endswith("To go on, on all hosts:")
    assert command.endswith("run '--workdir=a b'")


def test_a_mistake_in_the_program_shows_where_it_is(watch):
    watcher = watch("1 / 0")
    assert "ZeroDivisionError" in watcher.communicate(timeout=60)[1] and watcher.returncode == 1


def test_beats_put_the_watchdog_off(watch):
    watcher = watch("[(time.sleep(0.5), beat()) for _ in range(8)]; return 0", patience=2.0)
    assert watcher.communicate(timeout=60) == ("", "") and watcher.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_handed_on(watch, number):
    heard = f"signal.signal({int(number)}, lambda *_: os._exit(9)); beat('ready'); print(1, flush=True); time.sleep(60)"
    watcher = watch(heard)
    watcher.stdout.readline()
    watcher.send_signal(number)
    watcher.communicate(timeout=60)
    assert watcher.returncode == 9


def test_a_process_that_is_alone_is_not_watched(monkeypatch):
    arguments, _ = parse(["run", "--config=a.py"])
    assert not is_one_of_several(arguments)
    for words in (["--distributed"], ["--processes=2"], ["--coordinator=a:1"]):
        assert is_one_of_several(parse(["run", "--config=a.py", *words])[0])
    assert leave(lambda: 5) == 5  # it stays
    gloo = ValueError("UNKNOWN: Gloo AllGather failed")
    assert not lost_others(gloo)
    monkeypatch.setenv(heartbeat.VARIABLE, "1")
    assert lost_others(gloo) and not lost_others(ValueError("epsilon=8: expected at most 1"))


def test_nobody_is_held_up_by_a_watcher_that_does_not_listen(monkeypatch):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monkeypatch.setenv(heartbeat.VARIABLE, str(writing))
    began = time.monotonic()
    for _ in range(3000):
        heartbeat.beat("x" * 100)
    os.close(reading)
    heartbeat.beat("gone")
    os.close(writing)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "words, message",
    [
        (["--processes=2"], "--coordinator and --process-id not given; give --coordinator=HOST:PORT"),
        (["--coordinator=a:1", "--processes=2", "--process-id=2"], "--process-id=2 of --processes=2: expected 0 … 1"),
        (["--coordinator=a", "--processes=2", "--process-id=0"], "--coordinator=a: expected HOST:PORT"),
    ],
)
def test_processes_that_cannot_be_found_are_refused(monkeypatch, words, message):
    for name in (platform.COORDINATOR, platform.PROCESSES, platform.PROCESS_ID, platform.INDEX):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        platform._join(parse(["run", "--config=a.py", *words])[0])


@pytest.mark.parametrize("index", [platform.PROCESS_ID, platform.INDEX])
def test_the_environment_may_say_who_the_others_are(monkeypatch, index):
    monkeypatch.setenv(platform.COORDINATOR, "pod-0:8476")
    monkeypatch.setenv(platform.PROCESSES, "3")
    monkeypatch.setenv(index, "2")
    asked = {}
    monkeypatch.setattr(platform.jax.distributed, "initialize", lambda **given: asked.update(given))
    platform._join(parse(["run", "--config=a.py", "--distributed"])[0])
    assert asked == {"coordinator_address": "pod-0:8476", "num_processes": 3, "process_id": 2}
    monkeypatch.setenv(index, "two")
    with pytest.raises(ValueError, match="is 'two': expected a number, as --process-id"):
        platform._join(parse(["run", "--config=a.py", "--distributed"])[0])

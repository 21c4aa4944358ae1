"""Lines of progress: how often, at which rate, and how they end."""

import io
import re
import sys
import time

import jax
from jax import monitoring
import pytest

from rnas.training.progress import Progress


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_line_every_interval_with_rate_and_time_left(capsys, clock):
    with Progress("search", 100, interval=10, clock=clock) as progress:
        clock.now += 8  # compilation: not part of the rate
        progress.update(1, loss=3.0)
        for done in range(2, 22):
            clock.now += 0.5
            progress.update(done, loss=1.23456, accuracy=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "search  5/100 steps  5 %  2.0 steps/s  0:48 left  loss 1.235  accuracy 0.5",
        "search  21/100 steps  21 %  in 0:18  loss 1.235  accuracy 0.5",
    ]


def test_a_resumed_stage_counts_only_what_it_does_itself(capsys, clock):
    with Progress("train", 1000, 900, "image", interval=10, clock=clock) as progress:
        progress.update(901)
        clock.now += 20
        progress.update(911)
    assert "train  911/1000 images  91 %  2.0 s/image  2:58 left" in capsys.readouterr().err


def test_an_exception_is_told_apart_from_an_end(capsys, clock):
    with pytest.raises(RuntimeError), Progress("train", 10, clock=clock) as progress:
        progress.update(4)
        clock.now += 3725
        raise RuntimeError
    assert capsys.readouterr().err == "train  4/10 steps  40 %  stopped, in 1:02:05\n"


@pytest.fixture
def terminal(capsys, monkeypatch):
    """`terminal(columns, kind)`: standard error leads to one."""

    def make(columns, kind="xterm"):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("TERM", kind)
        monkeypatch.setenv("COLUMNS", str(columns))

    return make


def test_a_terminal_gets_a_bar(capsys, terminal):
    terminal(120)
    with Progress("search", 10, 5) as progress:
        progress.update(10, loss=0.5)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.lstrip("\r").startswith("search  10/10 steps  100 %  in 0:00  loss 0.5  |") and last.endswith("|")


@pytest.mark.parametrize("columns", [20, 40, 80, 100])
@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_a_line_has_room_in_its_terminal(capsys, terminal, clock, columns, kind):
    """Whole parts are left out, the metrics with the longest names first."""
    terminal(columns, kind)
    with Progress("baseline_kl_only", 12000, interval=0, clock=clock) as progress:
        for done in range(0, 6001, 1000):
            clock.now += 100
            progress.update(done, adversarial_accuracy=0.123456, accuracy=0.5, loss=1.23456)
    lines = [line.strip() for line in re.split("[\r\n]", capsys.readouterr().err) if line.strip()]
    assert len(lines) >= 7 and max(map(len, lines)) < columns
    if columns >= 80:
        (half, *_) = (line for line in lines if "5000/12000 steps  41 %" in line)
        assert "10.0 steps/s  11:40 left" in half and ("adversarial" in half) <= ("0.1235" in half)
        assert "loss 1.235" in half or kind == "xterm"


def test_a_terminal_that_cannot_move_back_gets_lines(capsys, terminal, clock):
    terminal(80, "dumb")
    with Progress("search", 10, clock=clock) as progress:
        progress.update(5)
    assert capsys.readouterr().err == "search  5/10 steps  50 %  in 0:00\n"


def test_the_clock_ticks_while_a_step_compiles(capsys, terminal):
    terminal(80)
    with Progress("search", 10):
        time.sleep(1.3)
    shown = capsys.readouterr().err
    assert "search  0/10 steps  0 %  0:00  compiling the search step" in shown
    assert "search  0/10 steps  0 %  0:01  compiling the search step" in shown


def test_what_a_log_shows_of_compiling(capsys):
    with Progress("search", 10, interval=0.1):
        time.sleep(1.2)
    lines = capsys.readouterr().err.splitlines()
    expected = [f"search  0/10 steps  0 %  compiling the search step, 0:0{second}" for second in (0, 1)]
    assert len(lines) >= 3 and list(dict.fromkeys(lines))[:2] == expected


def test_compiling_is_no_part_of_the_rate(capsys, clock, monkeypatch):
    """As when held-out images are scored for the first time."""
    with Progress("search", 100, interval=10, clock=clock) as progress:
        progress.update(0)
        clock.now += 30
        monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 25.0)
        progress.update(10)
    assert "search  10/100 steps  10 %  2.0 steps/s  0:45 left" in capsys.readouterr().err


def test_where_nobody_listens_the_work_goes_on(monkeypatch, clock):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with Progress("search", 10, interval=0, clock=clock) as progress:
        progress.update(5)


def test_other_processes_are_silent(capsys, monkeypatch, clock):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with Progress("search", 10, interval=0, clock=clock) as progress:
        progress.update(5)
    assert capsys.readouterr().err == ""

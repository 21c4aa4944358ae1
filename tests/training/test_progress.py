"""Lines of progress: how often, at which rate, and how they end."""

import sys

import jax
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


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("search", 10, 5) as progress:
        progress.update(10, loss=0.5)
    shown = capsys.readouterr().err
    assert "search: 100%" in shown and "10/10" in shown and "loss 0.5" in shown


def test_other_processes_are_silent(capsys, monkeypatch, clock):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with Progress("search", 10, interval=0, clock=clock) as progress:
        progress.update(5)
    assert capsys.readouterr().err == ""

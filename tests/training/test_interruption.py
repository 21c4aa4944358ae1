"""Signals become a request to stop; the second Ctrl-C stops at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from rnas.training.interruption import Interruption

BUSY = """
import os, signal, sys, threading, time
from rnas.training.interruption import Interruption

threading.Thread(target=time.sleep, args=(100,)).start()
with Interruption() as interruption:
    os.kill(os.getpid(), int(sys.argv[1]))
    assert interruption.requested()
    os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number, capfd):
    with Interruption() as interruption:
        assert not interruption.requested()
        os.kill(os.getpid(), number)
        assert interruption.requested()
        os.kill(os.getpid(), signal.SIGTERM)  # asking again changes nothing
        assert interruption.requested()
    shown = capfd.readouterr().err
    assert shown.count("saving") == 1 and signal.Signals(number).name in shown


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_interrupt_stops_at_once(first):
    """Although a thread is busy: XLA cannot be interrupted."""
    child = subprocess.run(
        [sys.executable, "-c", BUSY, str(int(first))], capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert child.returncode == 130 and "stopped at once" in child.stderr


def test_former_handlers_come_back():
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with Interruption():
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is interrupt
        with pytest.raises(RuntimeError), Interruption():
            raise RuntimeError
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)


def test_another_thread_leaves_the_handlers_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter():
        with Interruption() as interruption:
            seen.append((signal.getsignal(signal.SIGINT), interruption.requested()))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(before, False)]

"""Rival programs timed in turn, each in a process of its own.

Turns make whatever else the machine does fall on all rivals alike; processes keep their thread pools and their
memory apart. The host starts each with a command line that ends in `serve`, one after another, and then requests
turns over standard input; a rival prints one JSON line a turn on standard output.
"""

import argparse
from collections.abc import Callable, Sequence
import contextlib
import json
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
import time


def positive(text: str) -> int:
    """A command line's whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be at least 1.")
    return value


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def limit_threads(threads: int) -> None:
    """Keeps this process, and all threads it starts later, on `threads` of its cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(run: Callable[[int], float], versions: dict[str, str], *, warm_up: int) -> None:
    """Runs turns until standard input ends.

    Args:
      run: runs so many steps to their end and returns the mean loss.
      versions: of what `run` is made with.
      warm_up: steps before the first turn, not timed; they compile.
    """
    # Whatever a library prints must not get between the results.
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    start = time.perf_counter()
    run(warm_up)
    print(json.dumps({"versions": versions, "warm_up": time.perf_counter() - start}), file=results)
    forget_peak()
    for line in sys.stdin:
        steps = int(line)
        start, start_cpu = time.perf_counter(), time.process_time()
        loss = run(steps)
        turn = {
            "seconds": (time.perf_counter() - start) / steps,
            "cpu_seconds": (time.process_time() - start_cpu) / steps,
            "loss": loss,
            "peak_memory": peak_memory(),
        }
        print(json.dumps(turn), file=results)


def forget_peak() -> None:
    """Starts the count of peak memory anew, so that it leaves out what compilation took."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Bytes of this process in memory at the worst moment, libraries included; None where Linux is not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return None


class Rival:
    """A process that serves turns."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]):
        """Starts it and waits until it is warm.

        Raises:
          RuntimeError: it ended instead; its standard error has the reason.
        """
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        ready = self._answer()
        self.versions, self.warm_up = ready["versions"], ready["warm_up"]
        self.turns = []

    def take(self, steps: int) -> dict:
        """One turn: "seconds" and "cpu_seconds" per step, mean "loss", "peak_memory" in bytes; kept in `turns`."""
        print(steps, file=self._process.stdin, flush=True)
        self.turns.append(self._answer())
        return self.turns[-1]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"`{' '.join(self._process.args)}` ended with status {self._process.wait()}.")
        return json.loads(line)


def contest(
    commands: dict[str, Sequence[str]], *, repeats: int, steps: int, threads: int, tell: Callable[[str], None]
) -> dict:
    """Starts a rival of every name, lets all take turns, and returns what was measured of each, by name.

    Args:
      commands: that start them.
      repeats: turns of each.
      steps: of a turn.
      threads: of each rival.
      tell: is given progress in words.
    """
    load = os.getloadavg()
    # OpenMP and MKL read theirs when they are loaded.
    environment = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(threads)}
    sides, rivals = tuple(commands), {}
    try:
        for side, command in commands.items():
            rivals[side] = Rival(command, environment)
            tell(f"{side}: warm after {rivals[side].warm_up:.1f} s")
        for repeat in range(repeats):
            # Nobody always runs right after the same rival's cache is cold.
            for side in sides[repeat % len(sides) :] + sides[: repeat % len(sides)]:
                tell(f"{side}: {rivals[side].take(steps)['seconds']:.4f} s a step")
    finally:
        for rival in rivals.values():
            rival.close()
    versions = {"python": platform.python_version()}
    for rival in rivals.values():
        versions |= rival.versions
    return {
        "seconds": {side: [turn["seconds"] for turn in rival.turns] for side, rival in rivals.items()},
        "cpu_seconds": {
            side: statistics.median(turn["cpu_seconds"] for turn in rival.turns) for side, rival in rivals.items()
        },
        "loss": {side: rival.turns[-1]["loss"] for side, rival in rivals.items()},
        "warm_up": {side: round(rival.warm_up, 1) for side, rival in rivals.items()},
        "peak_memory": {side: _mebibytes(rival.turns) for side, rival in rivals.items()},
        "repeats": repeats,
        "steps": steps,
        "threads": threads,
        "load": load,
        "machine": platform.machine(),
        "versions": versions,
    }


def medians(measured: dict) -> dict[str, float]:
    """Seconds a step of each side of a contest."""
    return {side: statistics.median(values) for side, values in measured["seconds"].items()}


def _mebibytes(taken: list[dict]) -> int | None:
    peaks = [turn["peak_memory"] for turn in taken if turn["peak_memory"]]
    return max(peaks) >> 20 if peaks else None

"""How far a stage has come: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable
import sys
import time

import jax
from tqdm import tqdm


class Progress:
    """Reports progress on standard error, on the first process only.

    Args:
      stage: name shown in front.
      total: number of units in all, of which `done` were done by the run that this one continues.
      unit: what is counted, in the singular.
      interval: seconds between two lines where standard error is no terminal.
      clock: monotonic seconds.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        done: int = 0,
        unit: str = "step",
        *,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._stage, self._total, self._done, self._unit = stage, total, done, unit
        self._interval, self._clock = interval, clock
        self._speaks, self._metrics = jax.process_index() == 0, ""
        self._bar: tqdm | None = None

    def __enter__(self) -> "Progress":
        self._entered = self._printed = self._clock()
        self._first: tuple[float, int] | None = None
        if self._speaks and sys.stderr.isatty():
            self._bar = tqdm(
                desc=self._stage, total=self._total, initial=self._done, unit=f" {self._unit}", dynamic_ncols=True
            )
        return self

    def update(self, done: int, total: int | None = None, **metrics: float) -> None:
        """Notes that `done` units are done in all, with figures worth showing; `total`, where it has changed."""
        now = self._clock()
        self._done = done
        if total is not None:
            self._total = total
            if self._bar is not None:
                self._bar.total = total
        if metrics:
            self._metrics = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        if self._first is None:
            # The first unit includes compilation: it is no measure of the rate.
            self._first = (now, done)
        if self._bar is not None:
            self._bar.set_postfix_str(self._metrics, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._speaks and now - self._printed >= self._interval:
            self._printed = now
            self._line(self._rate_and_time_left(now))

    def __exit__(self, kind, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._speaks:
            took = f"in {_duration(self._clock() - self._entered)}"
            self._line(took if kind is None else f"stopped, {took}")

    def _rate_and_time_left(self, now: float) -> str:
        assert self._first is not None, "called before the first update"
        start, before = self._first
        if now <= start or self._done <= before:
            return "rate not known yet"
        rate = (self._done - before) / (now - start)
        left = _duration((self._total - self._done) / rate)
        shown = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{self._unit}"
        return f"{shown}  {left} left"

    def _line(self, timing: str) -> None:
        percent = 100 * self._done // max(self._total, 1)
        count = f"{self._done}/{self._total} {self._unit}s"
        parts = [self._stage, count, f"{percent} %", timing, self._metrics]
        print("  ".join(part for part in parts if part), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

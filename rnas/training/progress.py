"""How far a stage has come: a bar on a terminal or in a notebook, a line now and then elsewhere."""

from collections.abc import Callable
import os
import sys
import threading
import time

import jax
from tqdm.auto import tqdm

from rnas.training.heartbeat import beat
from rnas.training.messages import discard, duration, terminal_width
from rnas.training.programs import compiling

TICK = 1.0  # seconds between two looks at the clock
REDRAWN = 0.1  # seconds between two states of a bar, at least
BAR = 10  # columns, at least; a shorter one shows nothing
IN_NOTEBOOK = any(each.__module__ == "tqdm.notebook" for each in tqdm.__mro__)  # with ipywidgets


class Progress:
    """Reports progress on standard error, on the first process only; a clock shows that something is going on.

    Rates and the time left do not count what was spent on compiling. On a terminal, what does not fit into one line is
    left out from its end: first the bar, then the metrics with the longest names.

    Args:
      stage: name shown in front.
      total: number of units in all, of which `done` were done by the run that this one continues.
      unit: what is counted, in the singular. Before the first update a step is taken to be compiling.
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
        self._speaks, self._metrics = jax.process_index() == 0, []
        self._bar: tqdm | None = None
        self._lock, self._ended = threading.RLock(), threading.Event()

    def __enter__(self) -> "Progress":
        self._compiled = compiling().seconds
        self._entered = self._printed = self._clock()
        self._first: tuple[float, int] | None = None  # seconds of work and units done, at the first update
        self._latest = (self._entered, self._done)  # the same at the latest
        if self._speaks:
            threading.Thread(target=self._tick, daemon=True).start()
        # A terminal that cannot go back to the start of a line would show every state of a bar.
        on_terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if self._speaks and (on_terminal or IN_NOTEBOOK):
            self._bar = tqdm(total=self._total, bar_format=" ", dynamic_ncols=True, file=sys.stderr)
            self._line(duration(0), *self._state())
        return self

    def update(self, done: int, total: int | None = None, **metrics: float) -> None:
        """Notes that `done` units are done in all, with figures worth showing; `total`, where it has changed."""
        with self._lock:
            self._done, self._total = done, self._total if total is None else total
            if metrics:
                names = sorted(metrics, key=len)
                self._metrics = [f"{name} {float(metrics[name]):.4g}" for name in names]
            self._latest = (self._working(), done)
            if self._first is None:
                # The first unit includes compilation: it is no measure of the rate.
                self._first = self._latest
            self._show()
        beat(f"{self._stage}, {self._unit} {done} of {self._total}")

    def __exit__(self, kind, *exception) -> None:
        self._ended.set()
        if not self._speaks:
            return
        took = f"in {duration(self._clock() - self._entered)}"
        with self._lock:
            self._line(took if kind is None else f"stopped, {took}")
            if self._bar is not None:
                self._bar.close()

    def _tick(self) -> None:
        while not self._ended.wait(min(TICK, self._interval or TICK)):
            with self._lock:
                if not self._ended.is_set():
                    self._show()

    def _show(self) -> None:
        """Draws the bar anew, or prints a line where one is due."""
        now = self._clock()
        if now - self._printed < (self._interval if self._bar is None else REDRAWN):
            return
        self._printed = now
        self._line(duration(now - self._entered) if self._bar is not None else "", *self._state())

    def _state(self) -> list[str]:
        """What is going on, or the rate and the time left."""
        if compiling().now or (self._first is None and self._unit == "step"):
            what = f" the {self._stage} {self._unit}" if self._first is None and self._unit == "step" else ""
            since = f", {duration(self._clock() - self._entered)}" if self._bar is None else ""
            return [f"compiling{what}{since}"]
        if self._first is None:
            return []
        (start, before), (end, done) = self._first, self._latest
        if end <= start or done <= before:
            return ["rate not known yet"]
        rate = (done - before) / (end - start)
        left = duration(max(0.0, (self._total - done) / rate - (self._working() - end)))
        return [f"{rate:,.1f} {self._unit}s/s" if rate >= 1 else f"{1 / rate:,.1f} s/{self._unit}", f"{left} left"]

    def _working(self) -> float:
        """Seconds on the clock without those of compiling."""
        return self._clock() - (compiling().seconds - self._compiled)

    def _line(self, *timing: str) -> None:
        if not self._speaks:
            return
        percent = 100 * self._done // max(self._total, 1)
        parts = [self._stage, f"{self._done}/{self._total} {self._unit}s", f"{percent} %", *timing, *self._metrics]
        width = terminal_width(sys.stderr)
        text = _fitted([part for part in parts if part], width)
        try:
            if self._bar is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self._bar.n, self._bar.total = self._done, self._total
                has_room = width is None or len(text) + BAR + 4 < width
                self._bar.bar_format = "{desc}  |{bar}|" if has_room else "{desc}"
                self._bar.set_description_str(text)
        except OSError:  # nobody listens any more
            discard(sys.stderr)


def _fitted(parts: list[str], width: int | None) -> str:
    """The first of some texts, as many as fit into one line; what there is no room for is left out."""
    text = parts[0]
    for part in parts[1:]:
        if width is not None and len(text) + 2 + len(part) >= width:
            break
        text += f"  {part}"
    return text if width is None else text[: width - 1]

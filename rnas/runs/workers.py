"""Any number of equal workers on the pieces of one work directory: each takes what nobody else is at.

Workers are started and stopped as one likes, on any machine that sees the directory. A piece whose worker died is taken
over after `rnas.artifacts.leases.LASTS` seconds and goes on from its checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
import time

from rnas.artifacts.failure import Failure, failure_file
from rnas.artifacts.leases import LASTS, Leases
from rnas.training.messages import duration, say
from rnas.training.trainer import DivergedError


@dataclass(frozen=True)
class Piece:
    """One piece of work, which has the same result whoever does it.

    Attributes:
      name: of its lease and of its mark where it failed.
      title: for the reader.
      cost: by which the dearest come first, so that none is left for the end.
      is_done: whether its result is there.
      do: makes the result; raises `DivergedError` where there can be none.
    """

    name: str
    title: str
    cost: float
    is_done: Callable[[], bool]
    do: Callable[[], None]


def work(
    workdir: Path, pieces: Sequence[Piece], failing: tuple[type[Exception], ...] = (DivergedError,)
) -> dict[str, str]:
    """Does the pieces that are not done, dearest first, until all that are left are in other hands or have failed.

    Errors of the kinds `failing` mark a piece as failed; others end this worker. Returns what stands in the way of the
    pieces that are left, by their name.
    """
    leases, left = Leases(workdir), {}
    began, done = time.monotonic(), 0.0  # cost of what this worker has done since
    waiting = sorted((piece for piece in pieces if not piece.is_done()), key=lambda piece: -piece.cost)
    went_on = True
    while went_on:
        went_on, left = False, {}
        for place, piece in enumerate(waiting):
            mark = failure_file(workdir, piece.name)
            if piece.is_done():
                continue
            if mark.exists():
                left[piece.name] = f"failed: {Failure.read(mark).error}"
                continue
            with leases.claimed(piece.name) as mine:
                if not mine:
                    left[piece.name] = _holder(leases, piece.name)
                elif not piece.is_done():  # by a worker that has just given it back
                    went_on = True
                    ahead = waiting[place:]  # what others have done of them meanwhile is not asked of the disk
                    until = (time.monotonic() - began) * sum(each.cost for each in ahead) / done if done else 0.0
                    rest = f"; about {duration(until)} left for this worker alone" if until else ""
                    say(f"[{len(pieces) - len(ahead) + 1}/{len(pieces)}] {piece.title}{rest}")
                    try:
                        piece.do()
                    except failing as error:
                        say(f"rnas: {error}")
                        Failure.of(error).write(mark)
                    done += piece.cost
    return left


def _holder(leases: Leases, name: str) -> str:
    return f"in the hands of {leases.holder(name) or 'another worker'}; free {LASTS:.0f} s after its end"

"""What this program prints: on streams of any kind, as wide as the terminal, with commands that run as printed."""

import codecs
from collections.abc import Callable
import contextlib
import io
import os
from pathlib import Path
import shlex
import shutil
import sys
import textwrap
from typing import TextIO

from tqdm import tqdm

from rnas.training.heartbeat import beat

_LETTERS = {
    "×": "x", "·": ".", "–": "-", "−": "-", "…": "...", "±": "+/-", "→": "->", "∞": "inf", "≤": "<=", "≥": ">=",
    "α": "alpha", "β": "beta", "γ": "gamma", "ε": "eps", "λ": "lambda", "ρ": "rho", "τ": "tau", "’": "'", "é": "e",
}  # fmt: skip


def with_streams(run: Callable[[], int]) -> int:
    """Calls `run` and returns its exit code, with a standard output and a standard error that can be written to.

    Where nobody reads standard output any more, as after `| head`, the end is quiet: 141, as of a program that a closed
    pipe has stopped.
    """
    prepare_streams()
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
        return 141


def prepare_streams() -> None:
    """Makes standard output and standard error writable, whatever they are.

    A stream that is closed, as under cron, leads nowhere: otherwise its number would be that of the next file that is
    opened, and libraries would write their messages into it. What a stream cannot encode is written in other letters.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    codecs.register_error("rnas.letters", _in_other_letters)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="rnas.letters")


def discard(stream: TextIO) -> None:
    """Lets a stream that can no longer be written to lead nowhere, with all that it still holds."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(message: str) -> None:
    """Prints to standard error, on the first process only; see `write`."""
    import jax  # which queries to a table do without

    beat(message.partition("\n")[0])
    if jax.process_index() == 0:
        write(message)


def write(message: str) -> None:
    """Prints to standard error, above a bar of progress if there is one; on a terminal, lines break between words.

    Lines that begin with a space, commands and rows of tables, stay whole. Where nobody listens any more, what is
    printed is lost, and the work goes on.
    """
    try:
        tqdm.write(wrapped(message, sys.stderr), file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def tell(answer: str) -> None:
    """Prints the answer of a command to standard output; on a terminal, lines that are too long break between words."""
    width = terminal_width(sys.stdout)
    print("\n".join(broken(line, width, "    ") for line in answer.splitlines()))


def wrapped(message: str, stream: TextIO) -> str:
    """A message with its long lines broken between words, where `stream` is a terminal."""
    width = terminal_width(stream)
    return "\n".join(line if line.startswith(" ") else broken(line, width) for line in message.splitlines())


def broken(line: str, width: int | None, indent: str = "") -> str:
    """A line broken between words where it is longer than `width`; the lines after the first get an indent."""
    if width is None or len(line) < width:
        return line
    return textwrap.fill(line, width - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def terminal_width(stream: TextIO) -> int | None:
    """The width of the terminal that a stream leads to; None where it leads elsewhere."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def duration(seconds: float) -> str:
    """Minutes and seconds, '3:07', with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def program() -> str:
    """How this program is called from where the user stands: `rnas`, or what leads to it if that is not on the path."""
    called, found = Path(sys.argv[0]), shutil.which("rnas")
    if called.name == "main.py" and called.parent.name == "rnas":
        return f"{shlex.quote(_short(sys.executable, shutil.which('python')))} -m rnas.main"
    return shlex.quote(_short(str(called), found)) if called.name == "rnas" else "rnas"


def _short(called: str, found: str | None) -> str:
    """The name of a file alone if it is the one that is found by it, else its path, relative if it is below."""
    path = os.path.abspath(called)
    if found and os.path.abspath(found) == path:
        return os.path.basename(found)
    near = os.path.relpath(path)
    return path if near.startswith("..") else near


def _in_other_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LETTERS.get(letter, "?") for letter in error.object[error.start : error.end]), error.end

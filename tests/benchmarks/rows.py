"""Runs every benchmark and writes a table of them: where rnas stands beside PyTorch, and beside its own targets.

    launch/benchmark.sh                             all, on a machine that does nothing else: one to two hours
    launch/benchmark.sh --only=table_step           some, by name
    launch/benchmark.sh --quick                     the smallest sizes, for correctness alone: minutes
    launch/benchmark.sh --page=docs/performance.md  also writes the table there, between its marks

Each prints the JSON line of its script and adds it to build/benchmarks.jsonl; those of earlier runs stay in the table
until they are measured again. A row has a target where one is set. Memory and compile seconds are columns: of steps,
the resident memory at its worst after compilation, and the seconds until a side was ready, from no cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import dataclasses
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile
import time
from typing import Any

FOLDER = Path(__file__).resolve().parent
MARKS = "<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n"


@dataclasses.dataclass(frozen=True)
class Row:
    """One benchmark.

    Attributes:
      what: is timed, for people.
      against: what.
      script: with its arguments.
      quick: arguments in their place, of the smallest sizes.
      ratio: target, theirs / ours; None where none is set.
      memory: target, ours / theirs at most.
      compile: target, seconds at most.
    """

    what: str
    against: str
    script: tuple[str, ...]
    quick: tuple[str, ...]
    ratio: float | None = None
    memory: float | None = None
    compile: float | None = None


TINY_CELLS = ("--channels=2", "--cells=3", "--batch=4", "--repeats=1", "--steps=1")
ROWS: Mapping[str, Row] = {
    "search_step": Row(
        "RNAS-CL search step, S3, batch 128, teacher excluded", "the faster of PyTorch eager and compiled",
        ("search_step.py",), ("--space=s1", "--batch=4", "--repeats=1", "--steps=1", "--no-compile"),
        ratio=1.3,
    ),
    "table_step": Row(
        "table training step, cell 333133, C 16, N 5, batch 64, PGD-7", "the faster of PyTorch eager and compiled",
        ("table_step.py", "--repeats=5", "--steps=1"),
        ("--channels=2", "--cells=1", "--batch=4", "--repeats=1", "--steps=1", "--no-compile"),
        ratio=1.0, memory=1.2, compile=25,
    ),
    "cell_search_step": Row(
        "cell search step of DSARA, C 8, 5 cells, batch 32 and 32, PGD-7, exact second order", "PyTorch eager",
        ("search_step.py", "--space=dsara", "--channels=8", "--cells=5", "--repeats=5", "--steps=1"),
        ("--space=dsara", *TINY_CELLS), ratio=1.5, memory=1.2, compile=60,
    ),
    "teacher_cache": Row(
        "RNAS-CL search step with a WRN-34-10 teacher, cache warm", "our own live teacher",
        ("teacher_cache.py", "--space=s3", "--teacher=wide_resnet_34_10", "--side=32", "--channels=3", "--batch=32",
         "--repeats=3", "--steps=2"),
        ("--teacher=wide_resnet_10_1", "--batch=4", "--repeats=1", "--steps=1"), ratio=5.0,
    ),
    "arms": Row(
        "arms of a study side by side in one program", "one after another", ("arms.py",),
        ("--space=tiny", "--batch=4", "--repeats=1", "--steps=1"),
    ),
    "auto_attack_linf": Row(
        "AutoAttack (standard), L∞, small network, 1,000 images, compilation included", "torchattacks",
        ("auto_attack.py",), ("--dataset=digits", "--images=3"), ratio=3.0,
    ),
    "auto_attack_l2": Row(
        "AutoAttack (standard), L2, small network, 1,000 images, compilation included", "torchattacks",
        ("auto_attack.py", "--norm=l2", "--epsilon=0.5"),
        ("--norm=l2", "--epsilon=0.5", "--dataset=digits", "--images=3"),
        ratio=3.0,
    ),
    "kernel_scores": Row(
        "tangent-kernel scores of 100 cells, compilation included", "a program for each cell",
        ("kernel_scores.py",), ("--cells=2", "--images=2"), ratio=10.0,
    ),
    "digits_run": Row(
        "the digits run, compiling at most 25 % of it at its first start", "its time with that share of compiling",
        ("digits_run.py",), ("--smoke",), ratio=1.0,
    ),
}  # fmt: skip


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, for correctness alone")
    parser.add_argument("--only", metavar="NAMES", help=f"of {', '.join(ROWS)}, separated by commas")
    parser.add_argument("--results", type=Path, default=Path("build/benchmarks.jsonl"), help="default: %(default)s")
    parser.add_argument("--page", type=Path, help="also write the table there")
    arguments = parser.parse_args(argv)
    arguments.names = arguments.only.split(",") if arguments.only else list(ROWS)
    if unknown := [name for name in arguments.names if name not in ROWS]:
        parser.error(f"--only: no benchmark {unknown[0]!r}; there are {', '.join(ROWS)}")
    return arguments


def measure(name: str, quick: bool) -> dict[str, Any]:
    """The JSON line of a benchmark, with when and where it was measured; raises RuntimeError where it failed."""
    script, *usual = ROWS[name].script
    with tempfile.TemporaryDirectory() as cache:  # of compiled programs, so that compiling is measured
        done = subprocess.run(
            [sys.executable, str(FOLDER / script), *(ROWS[name].quick if quick else usual)],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": cache},
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{script} ended with exit code {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "row": name, "date": time.strftime("%Y-%m-%d"), "cpu": cpu(), "quick": quick}


def cpu() -> str:
    """Class of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models) or os.cpu_count()} × {models[0] if models else platform.processor()}"


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for every benchmark, as Markdown; what was not measured is a dash."""
    head = "| what | against | ours | theirs | ratio | target | memory | compiling | measured |"
    lines = [head, "|---" * 9 + "|"]
    for name, row in ROWS.items():
        one = found.get(name)
        target = "" if row.ratio is None else f"≥ {row.ratio:g}"
        if one is None:
            lines.append(f"| {row.what} | {row.against} | – | – | – | {target} | – | – | not measured |")
            continue
        ratio = f"{one['ratio']:.2f}"
        if row.ratio is not None and one["ratio"] >= row.ratio:
            ratio = f"**{ratio}**"
        versions = ", ".join(f"{key} {one['versions'][key]}" for key in ("jax", "torch") if key in one["versions"])
        lines.append(
            f"| {row.what} | {row.against} | {one['ours']:.3g} s | {one['theirs']:.3g} s | {ratio} | {target} | "
            f"{_memory(row, one)} | {_compiling(row, one)} | {one['date']}, {one['cpu']}, {versions} |"
        )
    return "\n".join(lines) + "\n"


def _memory(row: Row, one: Mapping[str, Any]) -> str:
    peaks = one.get("peak_memory") or {}
    theirs = [peaks[side] for side in peaks if side not in ("ours", "ours_compiled") and peaks[side]]
    if not peaks.get("ours") or not theirs:
        return "–"
    limit = "" if row.memory is None else f" (≤ {row.memory:g})"
    return f"{peaks['ours']:,} / {min(theirs):,} MiB{limit}"


def _compiling(row: Row, one: Mapping[str, Any]) -> str:
    seconds = one.get("compile_seconds", (one.get("warm_up") or {}).get("ours"))
    limit = "" if row.compile is None else f" (≤ {row.compile:g})"
    return "–" if seconds is None else f"{seconds:.0f} s{limit}"


def write_page(path: Path, text: str) -> None:
    """Puts the table between the marks of a page; raises ValueError where it has none."""
    before, first, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise ValueError(f"{path} lacks the lines {MARKS[0].strip()} and {MARKS[1].strip()}.")
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def main(argv=None) -> int:
    arguments = parse(argv)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.names:
        print(f"== {name}: {ROWS[name].what}", file=sys.stderr, flush=True)
        try:
            line = json.dumps(measure(name, arguments.quick))
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print(line, flush=True)
        with open(arguments.results, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    lines = arguments.results.read_text(encoding="utf-8").splitlines() if arguments.results.exists() else []
    kept = [one for line in lines if (one := json.loads(line))["quick"] == arguments.quick]
    text = table({one["row"]: one for one in kept})  # the latest of each
    print(text, file=sys.stderr)
    if arguments.page:
        write_page(arguments.page, text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures which share of the digits run goes into compiling, at its first start on a machine and at the second.

    python tests/benchmarks/digits_run.py            # configs/rnas_cl/digits.py, about a quarter of an hour
    python tests/benchmarks/digits_run.py --smoke    # does it work?

It prints one JSON line. Both runs have work directories of their own; the second finds the programs of the first in
JAX's cache. Shares are of the stages' seconds, as `run.json` has them; the seconds of compiling are added over threads.
`ours` is the first run's time, `theirs` what it may take for its share to be `limit`; so `ratio` reaches 1 where the
share is kept. `shares` has both.
"""

import argparse
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile

import turns

LIMITS = (0.25, 0.05)  # of the first start, and of the second


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="the variant smoke: its shares mean nothing")
    return parser.parse_args(argv)


def run(config: str, workdir: Path, cache: Path) -> tuple[float, float]:
    """Seconds of all stages of a run, and those of compiling among them."""
    command = [sys.executable, "-m", "rnas.main", "run", f"--config={config}", f"--workdir={workdir}"]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    )
    stages = json.loads((workdir / "run.json").read_text())["stages"].values()
    return sum(stage["seconds"] for stage in stages), sum(stage["compiling"] for stage in stages)


def measure(arguments: argparse.Namespace) -> dict:
    """Runs twice, and returns the result."""
    load, config = os.getloadavg(), "rnas_cl/digits" + (":smoke" if arguments.smoke else "")
    with tempfile.TemporaryDirectory() as folder:
        found = [run(config, Path(folder) / name, Path(folder) / "cache") for name in ("first", "second")]
    shares = [compiling / seconds for seconds, compiling in found]
    (first, compiling), _ = found
    allowed = (first - compiling) / (1 - LIMITS[0])  # the same work with compiling at its limit
    return {
        "name": "digits_run",
        "ratio": round(allowed / first, 3),
        "target": 1.0,
        "ours": first,
        "theirs": allowed,
        "compile_seconds": round(compiling, 1),
        "shares": [round(share, 3) for share in shares],
        "limits": LIMITS,
        "seconds": {"first": found[0], "second": found[1]},
        "sizes": {"config": config},
        "threads": turns.cores(),
        "load": load,
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "rnas")},
    }


if __name__ == "__main__":
    print(json.dumps(measure(parse())))

"""`rnas submit`: starts equal workers of a command that shares its work, on a cluster or here, through submitit.

Workers share nothing but the work directory. One whose time is over saves its state and is queued again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import shlex
import subprocess
import sys
import textwrap

from rnas.training.interruption import AGAIN
from rnas.training.messages import tell

ENGINES = ("slurm", "local", "sky", "k8s")
NOTICE = 180  # seconds before its time is over in which a worker saves its state
EXAMPLE = "--to=slurm --workers=8 study --config=rnas_cl/digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--to", required=True, choices=ENGINES, help="slurm and local start; sky and k8s print a file for these tools")
    add("--workers", type=int, default=1, metavar="N", help="how many; default: 1")
    add("--gpus", type=int, default=0, metavar="N", help="of each worker; default: 0")
    add("--cpus", type=int, default=4, metavar="N", help="of each worker; default: 4")
    add("--hours", type=float, default=24.0, metavar="H", help="after which a worker is queued again; default: 24")
    add("--partition", metavar="NAME", help="of Slurm")
    add("--image", default="REGISTRY/rnas", metavar="NAME", help="of k8s, made from launch/Dockerfile")
    add("--log", default="runs/submitted", metavar="DIR", help="what workers say; default: runs/submitted")
    words = "a command that shares its work: tabular train, study or sweep, with its arguments"
    add("words", nargs=argparse.REMAINDER, metavar="COMMAND …", help=words)


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Starts the workers, or prints the file that would; raises ValueError for another command, or without submitit."""
    words = list(arguments.words)
    if words[:1] not in (["study"], ["sweep"]) and words[:2] != ["tabular", "train"]:
        raise ValueError(
            f"{shlex.join(words) or 'nothing'}: expected tabular train, study or sweep, with its arguments."
        )
    if arguments.workers < 1:
        raise ValueError(f"--workers={arguments.workers}: expected 1 or more.")
    if arguments.to == "sky":
        print(skypilot(words, arguments.gpus))  # a file: no line is broken
    elif arguments.to == "k8s":
        print(kubernetes(words, arguments.workers, arguments.gpus, arguments.image))
    else:
        tell(_submit(arguments, words))
    return 0


class Worker:
    """One worker: runs the command, again where it lost its place, and ends it with its state saved when asked to."""

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        self._process: subprocess.Popen | None = None
        self._ended = False

    def __call__(self) -> int:
        """Returns the exit code of the command; raises RuntimeError where it failed."""
        code = AGAIN
        while code == AGAIN and not self._ended:
            self._process = subprocess.Popen([sys.executable, "-m", "rnas.main", *self.words])
            code = self._process.wait()
        if code:
            raise RuntimeError(f"rnas {shlex.join(self.words)} ended with exit code {code}")
        return code

    def checkpoint(self):
        """Lets the command save its state, and returns what submitit, which calls this in time, is to queue again."""
        from submitit.helpers import DelayedSubmission

        self._ended = True
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        return DelayedSubmission(Worker(self.words))


def _submit(arguments: argparse.Namespace, words: Sequence[str]) -> str:
    try:
        import submitit
    except ImportError as error:
        raise ValueError("this needs submitit: pip install 'rnas[cluster]'.") from error
    folder = Path(arguments.log).absolute()
    executor = submitit.AutoExecutor(folder=folder / "%j", cluster=arguments.to, slurm_max_num_timeout=1000)
    own = {"slurm_partition": arguments.partition} if arguments.partition and arguments.to == "slurm" else {}
    executor.update_parameters(
        name="rnas", timeout_min=max(1, round(60 * arguments.hours)), gpus_per_node=arguments.gpus,
        cpus_per_task=arguments.cpus, slurm_signal_delay_s=NOTICE, **own,
    )  # fmt: skip
    if arguments.to == "slurm":
        executor.update_parameters(slurm_array_parallelism=arguments.workers)
    with executor.batch():
        jobs = [executor.submit(Worker(words)) for _ in range(arguments.workers)]
    ids = ", ".join(job.job_id for job in jobs)
    logs = os.path.relpath(folder)
    return f"{len(jobs)} workers: {ids}\nwhat they say: {logs}/<id>/<id>_0_log.err"


def skypilot(words: Sequence[str], gpus: int) -> str:
    """A task of SkyPilot for one worker."""
    accelerators = f"accelerators: H100:{gpus}" if gpus else "cpus: 4+"
    accelerator = "cuda13" if gpus else "cpu"
    return textwrap.dedent(f"""\
        # One worker. Start as many as you like: sky jobs launch --name rnas-1 FILE, rnas-2 and so on.
        resources:
          {accelerators}
          use_spot: true
        workdir: .
        file_mounts:
          /runs:  # the work directory is below, seen by all workers
            name: BUCKET
            mode: MOUNT
        setup: launch/environment.sh {accelerator}
        run: {json.dumps(shlex.join(["launch/again.sh", ".venv/bin/rnas", *words]))}
        """)


def kubernetes(words: Sequence[str], workers: int, gpus: int, image: str) -> str:
    """A Job of Kubernetes with equal workers."""
    limits = f"\n          resources: {{limits: {{nvidia.com/gpu: {gpus}}}}}" if gpus else ""
    return textwrap.dedent(f"""\
        apiVersion: batch/v1
        kind: Job
        metadata:
          name: rnas-workers
        spec:
          completions: {workers}
          parallelism: {workers}
          completionMode: Indexed
          backoffLimit: 1000
          podFailurePolicy:
            rules:
              - action: FailJob
                onExitCodes: {{operator: In, values: [2]}}
              - action: Ignore
                onPodConditions: [{{type: DisruptionTarget, status: "True"}}]
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: {NOTICE}
              containers:
                - name: rnas
                  image: {image}
                  args: {json.dumps(words)}LIMITS
                  volumeMounts: [{{name: runs, mountPath: /runs}}]
              volumes:
                - name: runs
                  persistentVolumeClaim: {{claimName: runs}}
        """).replace("LIMITS", limits)

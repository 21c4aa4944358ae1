"""Settings of JAX before its first use: cache, precision, other processes."""

import argparse
from collections import Counter
import os
from pathlib import Path
import threading
import time

import jax

from rnas.cli.supervisor import is_one_of_several
from rnas.data.datasets import cache_folder
from rnas.training.heartbeat import beat, is_watched
from rnas.training.programs import compiling, prune

COORDINATOR, PROCESSES, PROCESS_ID = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
INDEX = "JOB_COMPLETION_INDEX"  # of a pod of an indexed Kubernetes job
LIMIT = 8 * 2**30  # bytes of compiled programs that are kept from run to run
HOW = (
    f"give --coordinator=HOST:PORT --processes=N --process-id=I, or {COORDINATOR}, {PROCESSES} and {PROCESS_ID} in the "
    "environment; Slurm, Open MPI and TPU pods are recognised by themselves"
)


def prepare(arguments: argparse.Namespace | None = None) -> None:
    """Sets up JAX for a command, and joins the other processes where there are several.

    Raises ValueError where they cannot be found, or differ in their number of devices.
    """
    # A second start of a run finds its programs compiled.
    if (folder := os.environ.get("JAX_COMPILATION_CACHE_DIR")) is None:
        folder = str(cache_folder() / "xla")
        prune(Path(folder), LIMIT)  # one that the user names is the user's
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # float32 means float32: TF32 or bfloat16 products would change the signs of attack gradients.
    jax.config.update("jax_default_matmul_precision", "highest")
    compiling()  # watched from here on, and quiet
    if arguments is not None and is_one_of_several(arguments):
        _join(arguments)


def _join(arguments: argparse.Namespace) -> None:
    environment = os.environ
    coordinator = arguments.coordinator or environment.get(COORDINATOR)
    processes = _number(arguments.processes, "--processes", PROCESSES)
    process_id = _number(arguments.process_id, "--process-id", PROCESS_ID, INDEX)
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(f"{' and '.join(missing)} not given; {HOW}.")
    if processes is not None and process_id is not None and not 0 <= process_id < processes:
        raise ValueError(f"--process-id={process_id} of --processes={processes}: expected 0 … {processes - 1}.")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise ValueError(f"--coordinator={coordinator}: expected HOST:PORT, such as 10.0.0.1:8476.")
    if processes == 1:
        return
    try:
        jax.distributed.initialize(coordinator_address=coordinator, num_processes=processes, process_id=process_id)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"this process does not find the others ({str(error).splitlines()[0]}): {HOW}.") from error
    if is_watched():
        threading.Thread(target=_beat_while_compiling, daemon=True).start()
    owners = [device.process_index for device in jax.devices()]
    # Rows of a batch are cut in this order.
    if owners != sorted(owners) or len(set(Counter(owners).values())) != 1:
        raise ValueError(f"devices belong to processes {owners}: expected as many of each, process by process.")


def _beat_while_compiling() -> None:
    """Compiling may take longer than the watchdog's patience, and nothing else is done meanwhile."""
    while True:
        time.sleep(1)
        if compiling().now:
            beat()


def _number(flag: int | None, name: str, *variables: str) -> int | None:
    found = flag if flag is not None else next((os.environ[each] for each in variables if os.environ.get(each)), None)
    try:
        return None if found is None else int(found)
    except ValueError as error:
        raise ValueError(f"{' or '.join(variables)} is {found!r}: expected a number, as {name}.") from error

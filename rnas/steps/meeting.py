"""Where the processes of a run wait for each other without their devices."""

import jax

PATIENCE = 6 * 3600  # seconds; a process that dies is noticed much earlier, by the service that counts them


def meet(what: str) -> None:
    """Returns once all processes are here; each must call it. Alone, a process goes on at once.

    A collective between CPUs gives up after half a minute. So processes meet before one that may find them far apart:
    some had a program to compile that others found compiled, or a file to write.

    Raises `jax.errors.JaxRuntimeError` where another process has died.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost  # late: steps on one host do without it

        multihost.get_barrier_sync_fn()(key=f"rnas {what}", timeout_ms=1000 * PATIENCE)

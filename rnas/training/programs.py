"""When compiled programs are let go."""

import jax


def forget_programs() -> None:
    """Lets go of every compiled program; one that is called again comes from the cache on disk.

    On a CPU each takes hundreds of pieces of memory, of which Linux grants a process 65,530: a run that trains and
    attacks a dozen networks in one process would be aborted.
    """
    jax.clear_caches()

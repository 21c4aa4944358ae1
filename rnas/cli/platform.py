"""Settings of JAX before its first use: cache, precision, other hosts."""

import os

import jax

from rnas.data.datasets import cache_folder
from rnas.training.programs import keep_quiet


def prepare(*, distributed: bool = False) -> None:
    """Sets up JAX for a command.

    Processes of a distributed one find each other through Slurm, a TPU pod or the usual environment variables.
    """
    # A second start of a run finds its programs compiled.
    jax.config.update(
        "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache_folder() / "xla")
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # float32 means float32: TF32 or bfloat16 products would change the signs of attack gradients.
    jax.config.update("jax_default_matmul_precision", "highest")
    keep_quiet()
    if distributed:
        jax.distributed.initialize()

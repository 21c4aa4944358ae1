"""Which arrays a CPU writes down, and when compiled programs are let go."""

import jax
from jax import lax


def stored(x: jax.Array) -> jax.Array:
    """Returns `x` [...], on a CPU written to memory before anything reads it. Value and derivatives are those of `x`.

    XLA fuses elementwise work into whatever reads its outcome. On a CPU it does so for every reader, and so does the
    work once for each of them: an image nine times if a convolution reads it in nine shifts, a gradient as often as a
    search along it looks at it. A barrier alone is gone before that is decided; a branch that depends on the data
    stays. Other platforms are left to weigh for themselves what fusing saves them. Writing costs a pass over memory;
    it pays where readers are many.
    """
    if x.size == 0:
        return x

    def written(x):
        # Of two equal branches the compiler would make one.
        return lax.cond(x.ravel()[0] > 0, lax.optimization_barrier, lambda x: x, x)

    return lax.platform_dependent(x, cpu=written, default=lambda x: x)


def forget_programs() -> None:
    """Lets go of every compiled program; one that is called again comes from the cache on disk.

    On a CPU each takes hundreds of pieces of memory, of which Linux grants a process 65,530: a run that trains and
    attacks a dozen networks in one process would be aborted.
    """
    jax.clear_caches()

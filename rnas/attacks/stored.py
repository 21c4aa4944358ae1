"""Which arrays a CPU writes down."""

import jax
from jax import lax


def stored(x: jax.Array) -> jax.Array:
    """Returns `x` [...], on a CPU written to memory before anything reads it. Value and derivatives are those of `x`.

    XLA fuses elementwise work into whatever reads its outcome. On a CPU it does so for every reader, and so does the
    work once for each of them: an image nine times if a convolution reads it in nine shifts, a gradient as often as a
    search along it looks at it. A barrier alone is gone before that is decided; a branch that depends on the data
    stays. Other platforms weigh for themselves what fusing saves. Writing costs a pass; it pays for many readers.
    """
    if x.size == 0:
        return x

    def written(x):
        # Of two equal branches the compiler would make one.
        return lax.cond(x.ravel()[0] > 0, lax.optimization_barrier, lambda x: x, x)

    return lax.platform_dependent(x, cpu=written, default=lambda x: x)

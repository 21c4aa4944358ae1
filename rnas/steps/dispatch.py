"""Programs on every device: many steps a dispatch, measurements of a frozen model, outputs of a teacher.

The only module that maps over devices (`jax.pmap`).
"""

from collections.abc import Callable, Hashable
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.objectives import TeacherApply
from rnas.steps.cached_teacher import CachedTeacher, Views, teacher_outputs_of_views
from rnas.steps.meeting import meet
from rnas.steps.replicas import AXIS, NEVER, NO_EXAMPLE, PyTree
from rnas.steps.state import Step

_compiled: set[Hashable] = set()  # by all processes: programs, each with its arguments' types and shapes
KEPT = 64  # functions of `run_frozen`, of which AutoAttack takes a few dozen; each holds on to its model


def run_steps(
    step: Step,
    metrics: tuple[str, ...],
    *,
    streaming: bool = False,
    cached_teacher: CachedTeacher | None = None,
    networks: tuple[int, ...] = (),
):
    """Wraps `step` so that one dispatch runs many of them on every device.

    The result takes (state, images, labels, rows, count, teacher_variables, root):
      images [n,H,W,C] uint8, labels [n]: the whole set, replicated; with `streaming`, one block a device,
      rows [devices, most, per_device]: rows of `images` in each step; a negative one fills the batch up, with label
        `NO_EXAMPLE`,
      count: how many of the `most` steps to run (traced: any count runs the same program),
    and returns (state, metric sums over the steps run). The state is donated and comes back replicated.

    `networks` is the shape of each sum, for a step that reports on several networks apart. For a step `over_seeds`,
    `rows` are [devices, most, S, per_device].

    With `cached_teacher` the step sees the views of which a teacher's outputs are kept, and takes these outputs in
    place of the teacher's variables: `rows` is then a `CachedBatch` of such rows, and teacher_variables the outputs
    that are kept on the device, or None. Such a step must not augment again, and its teacher must be
    `cached_teacher.apply`.
    """

    def many(state, images, labels, rows, count, teacher_variables, root):
        def body(index, carry):
            state, sums = carry
            taken = jax.tree.map(lambda leaf: leaf[index], rows)
            if cached_teacher:
                chosen = taken.rows
                batch, teacher = cached_teacher.look_up(images, taken, teacher_variables, state.step)
            else:
                chosen, batch, teacher = taken, images[taken], teacher_variables
            given = jnp.where(chosen < 0, NO_EXAMPLE, labels[chosen])
            state, new = step(state, batch, given, teacher, root)
            nonfinite = jnp.minimum(sums.pop("nonfinite_step"), new.pop("nonfinite_step"))
            return state, {**{name: sums[name] + new[name] for name in sums}, "nonfinite_step": nonfinite}

        zeros = {name: jnp.zeros(networks, jnp.float32) for name in (*metrics, "count")}
        return lax.fori_loop(0, count, body, (state, {**zeros, "nonfinite_step": jnp.full(networks, NEVER)}))

    data = 0 if streaming else None
    in_axes = (None, data, data, 0, None, None, None)
    return _compiled_by_all(jax.pmap(many, axis_name=AXIS, in_axes=in_axes, out_axes=(None, None), donate_argnums=0))


@functools.lru_cache(maxsize=KEPT)
def run_frozen(predict: Callable[..., jax.Array], program: Callable[..., PyTree]):
    """Wraps what is measured of a frozen model, an attack for one, so that it runs on every device.

    Equal arguments give the same function, so that networks of one architecture share what was compiled for it: the
    cells of a table do, each of which AutoAttack would otherwise compile for anew.

    Args:
      predict: (variables, images [N,H,W,C], ...) -> logits [N,K], in inference mode.
      program: (logits_fn, images, labels, keys [N], settings, carry) -> pytree of arrays [N, ...].

    Returns:
      (variables, images [D,n,H,W,C] float32, labels [D,n], ids [D,n], key, settings, carry of leaves [D,n,...])
      -> what `program` returns, over the D·n examples of all replicas in order. `ids` key each example, so a
      result does not depend on how examples are packed into batches.
    """

    def frozen(variables, images, labels, ids, key, settings, carry):
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)
        found = program(functools.partial(predict, variables), images, labels, keys, settings, carry)
        return jax.tree.map(lambda leaf: lax.all_gather(leaf, AXIS, tiled=True), found)

    return _compiled_by_all(jax.pmap(frozen, axis_name=AXIS, in_axes=(None, 0, 0, 0, None, None, 0), out_axes=None))


def run_teacher_on_views(teacher: TeacherApply, views: Views, taps: tuple[str, ...], size: int):
    """Wraps `cached_teacher.teacher_outputs_of_views` so that every device of this host computes outputs of a teacher.

    Returns:
      (variables, images [D,n,H,W,C] uint8, rows [D,n], view) -> `CachedOutputs` with leading axes [D,n]. Hosts need not
      call it together.
    """
    program = functools.partial(teacher_outputs_of_views, teacher, views, taps, size)
    return jax.pmap(program, in_axes=(None, 0, 0, None), devices=jax.local_devices())


def forget_programs() -> None:
    """Lets go of every compiled program; one that is called again comes from the cache on disk.

    On a CPU each takes hundreds of pieces of memory, of which Linux grants a process 65,530: a run that trains and
    attacks a dozen networks in one process would be aborted.
    """
    jax.clear_caches()
    _compiled.clear()


def _compiled_by_all(program):
    """The mapped `program`; one of several processes runs it only once all have compiled it. They call it together.

    Of processes that start a run again, one may find its programs in the cache on disk and others not: it would wait
    within a collective, longer than that waits.
    """

    if jax.process_count() == 1:
        return program

    def call(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        kinds = [(np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves]
        called = (program, structure, *kinds)
        if called not in _compiled:
            program.lower(*arguments).compile()
            meet("compiled")
            _compiled.add(called)
        return program(*arguments)

    return call

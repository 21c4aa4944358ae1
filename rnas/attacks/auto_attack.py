"""AutoAttack (Croce & Hein 2020, arXiv 2003.01690; L1: arXiv 2103.01208): complementary attacks, worst case counts.

The attacks run in turn, each from the clean image on the examples that no attack before has fooled. What an attack
claims is recounted by a pass of its own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks.batching import batch_sizes, concatenated, cut_batches, run_concurrently, take
from rnas.attacks.direct import check_direct, compiled
from rnas.attacks.epsilon_parsing import is_traced, pixel_radius
from rnas.attacks.input_checks import check_count
from rnas.attacks.programs import AttackRun, check_shape, in_turn, runs_of
from rnas.attacks.projections import over
from rnas.attacks.random_start import folded, per_example_keys
from rnas.attacks.result import AttackResult, unseen
from rnas.attacks.verdict import DRAWS, judge_draws, judge_once

VERSIONS = {
    ("standard", "linf"): ("apgd_ce", "apgd_t", "fab_t", "square"),
    ("standard", "l2"): ("apgd_ce", "apgd_t", "fab_t", "square"),
    ("standard", "l1"): ("apgd_ce*5", "apgd_t", "fab_t", "square"),
    ("plus", "linf"): ("apgd_ce*5", "apgd_dlr*5", "fab*5", "square", "apgd_t", "fab_t"),
    ("plus", "l2"): ("apgd_ce*5", "apgd_dlr*5", "fab*5", "square", "apgd_t", "fab_t"),
    ("rand", "linf"): ("apgd_ce", "apgd_dlr"),
    ("rand", "l2"): ("apgd_ce", "apgd_dlr"),
    ("rand", "l1"): ("apgd_ce", "apgd_dlr"),
}
# Where a loss needs more classes than there are: with K = 3, with K = 2.
SUBSTITUTES = {3: {"apgd_t": "apgd_dlr"}, 2: {"apgd_t": "apgd_margin", "apgd_dlr": "apgd_margin"}}


@dataclass(frozen=True)
class Plan:
    """An ensemble."""

    version: str  # its name, with what was substituted: 'standard (K=3: apgd_t → apgd_dlr)'
    runs: tuple[AttackRun, ...]  # of its attacks, in order
    eot: int  # draws of the model that each verdict rests on, 1 unless the model is random


def plan_auto_attack(version: str, norm: str, num_classes: int) -> Plan:
    """Returns the attacks of 'standard', 'plus' or 'rand'.

    Targeted attacks aim at min(9, K - 1) classes (APGD in L1: 5). Losses that need more classes than the model has are
    replaced, which the name of the version shows. An unknown version or norm and a model with one class are refused.
    """
    if not all(isinstance(name, str) for name in (version, norm)) or (version, norm) not in VERSIONS:
        known = ", ".join(f"{name} in {ball}" for name, ball in VERSIONS)
        raise ValueError(f"no AutoAttack version {version!r} in norm {norm!r}; there are: {known}.")
    substitutes, names, replaced = SUBSTITUTES.get(num_classes, {}), {}, []
    for name in VERSIONS[version, norm]:
        kind, _, restarts = name.partition("*")
        other = substitutes.get(kind, kind)
        if other != kind:
            replaced.append(f"{kind} → {other}")
        names.setdefault(other, "*".join(filter(None, [other, restarts])))  # no attack twice
    eot = DRAWS if version == "rand" else 1
    runs = [run for name in names.values() for run in runs_of(name, norm, num_classes, eot=eot)]
    note = f" (K={num_classes}: {', '.join(replaced)})" if replaced else ""
    return Plan(version + note, tuple(runs), eot)


def auto_attack(
    logits_fn,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: str | float,
    key: jax.Array,
    norm: str = "linf",
    version: str = "standard",
    batch_size: int = 250,
) -> AttackResult:
    """Attacks images with an ensemble; fooled examples are not attacked again.

    The others are cut into batches of `batch_size`, a quarter or a sixteenth of it: at most three programs for each
    attack, which are kept. On a CPU several batches run at a time. Not to be called while tracing: which examples are
    left is decided on the host.

    Args:
      logits_fn: as for `pgd`; with version 'rand' (images, key) → logits, where all randomness comes from the key.
      images, labels, epsilon, key: as for `pgd`.
      norm: 'linf', 'l2' or 'l1'.
      version: 'standard'; 'plus' (not in L1), which is longer; 'rand', for models that draw random numbers: all is
        averaged over 20 draws, and fooled means wrong in at least half of 20 fresh ones.
      batch_size: images at a time, as many as memory can hold the gradient of.

    Returns:
      An `AttackResult`; `loss` is the lead of the best wrong class on the returned image, `queries` the images shown to
      the model by all attacks. An example that is wrong from the start is a success with no query.

    Raises:
      ValueError: what the attacks refuse, before any of them begins; values outside [0, 1]; a call while tracing.
    """
    if is_traced((images, labels, epsilon, key)):
        raise ValueError("auto_attack picks examples on the host: call it outside jit, vmap and pmap.")
    check_count("batch_size", batch_size, least=1)
    plan = plan_auto_attack(version, norm, check_direct(logits_fn, images, labels, random=version == "rand"))
    epsilon = float(pixel_radius(epsilon, norm))
    clean, truth = np.asarray(images), np.asarray(labels)
    keys, count = per_example_keys(key, len(clean)), len(clean)
    sizes = batch_sizes(min(batch_size, max(count, 1)))

    def run_program(program, rows, points, settings, carry, key_number):
        """Runs a program on `rows`, batch by batch; `points` and `carry` have one entry a row."""
        program = compiled(program, logits_fn)

        def attacked(batch):
            size = next(size for size in sizes if size >= len(batch))
            filled = np.append(batch, np.full(size - len(batch), batch[0]))
            chosen = rows[filled]
            own = folded(keys[chosen], key_number)
            result = program(points[filled], truth[chosen], own, settings, take(carry, filled))
            return take(result, slice(len(batch)))

        batches = list(cut_batches(np.arange(len(rows)), sizes))
        return concatenated([result for _, result in run_concurrently(attacked, batches)])

    def verdict(rows, points):
        return run_program(judge_draws if plan.eot > 1 else judge_once, rows, points, None, None, 0)

    best, everyone = clean.copy(), np.arange(count)
    if count == 0:
        return unseen(jnp.asarray(clean))
    check_shape(plan.runs, clean.shape[1:], norm)
    first = verdict(everyone, clean)
    fooled, loss, queries = first["wrong"].copy(), -first["margin"], np.zeros(count, np.int32)

    def attack(run, rows, carry):
        result, carry = run_program(run.program, rows, clean[rows], run.at(epsilon), carry, run.key_number)
        success = result.success.copy()
        if success.any():
            hit = np.flatnonzero(success)
            again = verdict(rows[hit], result.images[hit])
            success[hit] = again["wrong"]
            loss[rows[hit]] = np.where(again["wrong"], -again["margin"], loss[rows[hit]])
        return result._replace(success=success), carry

    for _, rows, result in in_turn(plan.runs, attack, fooled):
        if result is not None:
            best[rows] = np.where(over(result.success, clean), result.images, clean[rows])
            queries[rows] += result.queries
    return jax.tree.map(jnp.asarray, AttackResult(best, fooled, loss, queries, fooled))

"""The host loop: when it acts, and that a run stopped anywhere ends as if it had not been stopped."""

import dataclasses
import json
import os
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.collapse import CollapsedError, CollapseRule
from rnas.training.interruption import Interrupted
from rnas.training.loaders import Block
from rnas.training.metrics_log import MetricsLog
from rnas.training.trainer import DivergedError, Plan, Trainer, stage_key

PLAN = Plan("search", total=6, steps_per_epoch=5, log_every=2, checkpoint_every=1, validate_every=0, seed=3)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


# -- the search, whole ----------------------------------------------------------------------------------


def searched(study, workdir, state, plan=PLAN):
    with Checkpoints(workdir / "checkpoints", keep=10) as checkpoints, MetricsLog(workdir, "search") as log:
        trainer = Trainer(plan, study.search_run, study.loader(), checkpoints, log, study.teacher_variables)
        return trainer.fit(state)


def test_a_search_resumed_from_any_step_equals_the_uninterrupted_one(study, tmp_path):
    whole = tmp_path / "whole"
    expected = searched(study, whole, study.search_state())
    assert expected.step == 6
    recorded = [{**line, "time": None} for line in lines(whole)]
    assert [line["step"] for line in recorded] == [1, 2, 3, 4, 5, 6]
    for step in range(1, 7):
        resumed = tmp_path / str(step)
        shutil.copytree(whole / "checkpoints" / str(step), resumed / "checkpoints" / str(step))
        shutil.copy(whole / "metrics.jsonl", resumed)  # has later steps, which are to be forgotten
        found = searched(study, resumed, study.search_state(seed=9))
        chex.assert_trees_all_equal(found, expected)
        assert [{**line, "time": None} for line in lines(resumed)] == recorded


def test_how_often_the_host_looks_up_changes_nothing(study, tmp_path):
    expected = searched(study, tmp_path / "often", study.search_state())
    plan = dataclasses.replace(PLAN, log_every=100, checkpoint_every=0)
    found = searched(study, tmp_path / "seldom", study.search_state(), plan)
    chex.assert_trees_all_equal(found, expected)
    often = {line["step"]: line for line in lines(tmp_path / "often")}
    (seldom,) = lines(tmp_path / "seldom")
    assert seldom["step"] == 6 and seldom["epoch"] == 1.2 and seldom["split"] == "train"
    for name in steps.WidthSearchStep.metrics:
        mean = np.mean([line[name] for line in often.values()])
        np.testing.assert_allclose(seldom[name], mean, rtol=1e-5, err_msg=name)


def test_weights_that_are_no_numbers_end_the_stage_and_are_never_kept(study, tmp_path):
    """The rate turns NaN at step 3, whose loss is the last good one."""
    optimizer = Optimizer(optax.identity(), lambda step: jnp.where(step == 3, jnp.nan, 0.05))
    state = study.train_state(optimizer=optimizer)
    step = study.train_step(study.objective("none"), optimizer)
    run = steps.run_steps(step, steps.TRAIN_METRICS)
    plan = dataclasses.replace(PLAN, stage="train", log_every=1)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints, MetricsLog(tmp_path, "train") as log:
        with pytest.raises(DivergedError, match=r"'train' diverged: .* step 3\b.* the checkpoint of step 3 is left"):
            Trainer(plan, run, study.loader(), checkpoints, log, study.teacher_variables).fit(state)
        last = checkpoints.restore(state)
    assert last.step == 3
    chex.assert_tree_all_finite(last.state)


# -- the loop alone, around a step that can be followed by hand -----------------------------------------


@dataclasses.dataclass
class Sum:
    """params collects the rows it is fed; notes the steps of each dispatch. Loss is the step, NaN at `bad`."""

    bad: int = steps.NEVER

    def __post_init__(self):
        self.dispatches = []

    def __call__(self, state, images, labels, rows, count, teacher_variables, root):
        first, count = int(state.step), int(count)
        self.dispatches.append((first, count))
        done = np.arange(first, first + count)
        state = state.replace(
            step=state.step + count,
            params=state.params + np.float32(rows[:, :count].sum()),
            batch_stats=jax.random.key_data(root),
        )
        sums = {"loss": np.float32(4 * done.sum()), "count": np.float32(4 * count)}
        sums["nonfinite_step"] = np.int32(self.bad if first <= self.bad < first + count else steps.NEVER)
        return state, sums


class Feed:
    """Row s for step s, and a position that must come back."""

    most = 4

    def __init__(self, at=None):
        self.at = at or {}

    def dispatch(self, first, count):
        for step in range(first, first + count):
            self.at.get(step, lambda: None)()
        rows = np.zeros((1, self.most, 1), np.int32)
        rows[0, :count, 0] = np.arange(first, first + count)
        return Block(None, None, rows)


def start():
    return State(np.int32(0)[...], np.zeros((), np.float32), np.zeros(2, np.uint32), None)


def looped(workdir, plan, run, loader=None, **options):
    with Checkpoints(workdir / "checkpoints", best="score") as checkpoints, MetricsLog(workdir, plan.stage) as log:
        return Trainer(plan, run, loader or Feed(), checkpoints, log, **options).fit(start())


def test_dispatches_end_where_the_host_acts(tmp_path):
    plan = dataclasses.replace(PLAN, total=17, log_every=3, checkpoint_every=10, validate_every=0)
    run = Sum()
    final = looped(tmp_path, plan, run)
    assert run.dispatches == [(0, 3), (3, 3), (6, 3), (9, 1), (10, 2), (12, 3), (15, 2)]
    assert final.step == 17 and final.params == sum(range(17))
    assert not isinstance(final.params, jax.Array)
    run = Sum()
    looped(tmp_path / "long", dataclasses.replace(plan, log_every=100), run)
    assert run.dispatches == [(0, 4), (4, 4), (8, 2), (10, 4), (14, 3)]  # `most` of the loader


def test_metrics_are_means_over_the_steps_since_the_last(tmp_path):
    plan = dataclasses.replace(PLAN, total=7, log_every=3, checkpoint_every=0)
    looped(tmp_path, plan, Sum())
    assert [(line["step"], line["epoch"], line["loss"]) for line in lines(tmp_path)] == [
        (3, 3 / 5, 1.0), (6, 6 / 5, 4.0), (7, 7 / 5, 6.0),
    ]  # fmt: skip


def test_validation_has_its_own_rhythm_and_chooses_the_best_checkpoint(tmp_path):
    plan = dataclasses.replace(PLAN, total=7, log_every=100, checkpoint_every=3, validate_every=2)
    scores = {2: 0.1, 4: 0.9, 6: 0.4, 7: 0.2}
    looped(tmp_path, plan, Sum(), validate=lambda state: {"score": scores[int(state.step)]})
    validated = [(line["step"], line["score"]) for line in lines(tmp_path) if line["split"] == "validation"]
    assert validated == list(scores.items())
    with Checkpoints(tmp_path / "checkpoints", best="score") as checkpoints:
        assert checkpoints.steps() == [4, 6, 7]  # the best and the latest two
        assert checkpoints.restore(start(), "best").state.params == sum(range(4))


def test_a_complete_stage_is_not_run_again(tmp_path):
    first = looped(tmp_path, PLAN, Sum())
    run = Sum()
    again = looped(tmp_path, PLAN, run)
    assert run.dispatches == []
    chex.assert_trees_all_equal(first, again)


@pytest.mark.parametrize(("checkpoint_every", "left"), [(1, 3), (2, 2)])
def test_a_loss_that_is_no_number_ends_the_stage(tmp_path, checkpoint_every, left):
    plan = dataclasses.replace(PLAN, log_every=4, checkpoint_every=checkpoint_every)
    validated = []
    with pytest.raises(DivergedError, match=rf"'search' diverged: .*step 3\b.*checkpoint of step {left} is left.*beta"):
        looped(tmp_path, plan, Sum(bad=3), validate=validated.append)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore(start()).state.params == sum(range(left))
    assert validated == []
    assert max(line["step"] for line in lines(tmp_path)) == left


def test_divergence_before_any_checkpoint(tmp_path):
    with pytest.raises(DivergedError, match=r"step 0\b.*no checkpoint was written yet"):
        looped(tmp_path, dataclasses.replace(PLAN, checkpoint_every=5), Sum(bad=0))


class Overfitting(Sum):
    """Accuracy under the attack in training is 0.9 throughout."""

    def __call__(self, state, images, labels, rows, count, teacher_variables, root):
        state, sums = super().__call__(state, images, labels, rows, count, teacher_variables, root)
        return state, {**sums, "adversarial_accuracy": 0.9 * sums["count"]}


@pytest.mark.parametrize("stopped_at", [None, 2, 4, 5])
def test_a_collapse_ends_the_stage_whether_it_was_resumed_or_not(tmp_path, stopped_at):
    plan = dataclasses.replace(PLAN, total=9, log_every=2, checkpoint_every=5, validate_every=2)
    robust = {2: 0.6, 4: 0.5, 6: 0.28, 8: 0.3, 9: 0.3}
    validate = lambda state: {"adversarial_accuracy": robust[int(state.step)], "score": robust[int(state.step)]}  # noqa: E731
    options = dict(validate=validate, collapse=CollapseRule(0.5, 0.1))
    if stopped_at:
        loader = Feed(at={stopped_at - 1: lambda: os.kill(os.getpid(), signal.SIGTERM)})
        with pytest.raises(Interrupted):
            looped(tmp_path, plan, Overfitting(), loader, **options)
    for _ in range(2):  # trying again changes nothing
        with pytest.raises(
            CollapsedError, match=r"'search' collapsed before step 6: PGD leaves 28.0% .* after 60.0% at"
        ):
            looped(tmp_path, plan, Overfitting(), **options)
        with Checkpoints(tmp_path / "checkpoints", best="score") as checkpoints:
            assert checkpoints.steps() == [2, 4, 5] and checkpoints.restore(start(), "best").step == 2
    assert [line["step"] for line in lines(tmp_path) if line["split"] == "validation"] == [2, 4, 6]


def test_held_out_accuracy_that_falls_as_training_accuracy_does_ends_nothing(tmp_path):
    plan = dataclasses.replace(PLAN, validate_every=2)
    robust = {2: 0.6, 4: 0.1, 6: 0.1}
    validate = lambda state: {"adversarial_accuracy": robust[int(state.step)], "score": 0.5}  # noqa: E731
    assert looped(tmp_path, plan, Sum(), validate=validate, collapse=CollapseRule(0.5, 0.1)).step == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(tmp_path, number, capfd):
    plan = dataclasses.replace(PLAN, total=9, log_every=2, checkpoint_every=100)
    loader = Feed(at={5: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(Interrupted, match="'search' was interrupted and saved at step 6"):
        looped(tmp_path, plan, Sum(), loader)
    assert signal.Signals(number).name in capfd.readouterr().err
    run = Sum()
    final = looped(tmp_path, plan, run)
    assert run.dispatches[0][0] == 6 and final.params == sum(range(9))
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6, 8, 9]


def test_a_signal_in_the_last_step_stops_before_the_next_stage(tmp_path, capfd):
    loader = Feed(at={5: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    with pytest.raises(Interrupted, match="saved at step 6") as stopped:
        looped(tmp_path, PLAN, Sum(), loader)
    assert stopped.value.code == os.EX_TEMPFAIL
    again = Sum()
    assert looped(tmp_path, PLAN, again).step == 6 and not again.dispatches


def test_stages_and_seeds_have_keys_of_their_own(tmp_path):
    keys = {(seed, stage): stage_key(seed, stage) for seed in (0, 3) for stage in ("search", "train", "teacher")}
    data = {name: tuple(np.asarray(jax.random.key_data(key))) for name, key in keys.items()}
    assert len(set(data.values())) == 6
    final = looped(tmp_path, PLAN, Sum())
    assert tuple(final.batch_stats) == data[3, "search"]


def test_no_step_compiles_again(tmp_path, caplog):
    """Neither the placement of a fresh state, nor that of a restored one, nor the count makes a new program."""

    def step(state, images, labels, teacher_variables, root):
        total = jax.lax.psum(jnp.sum(images.astype(jnp.float32)), steps.AXIS)
        sums = {"loss": total, "count": jax.lax.psum(jnp.float32(len(images)), steps.AXIS)}
        sums["nonfinite_step"] = jnp.int32(steps.NEVER)
        return state.replace(step=state.step + 1, params=state.params + teacher_variables * total), sums

    run = steps.run_steps(step, ("loss",))
    images, labels = np.ones((8, 1, 1, 1), np.uint8), np.ones(8, np.int32)

    class Ones(Feed):
        def dispatch(self, first, count):
            return Block(images, labels, np.zeros((4, self.most, 2), np.int32))

    plan = dataclasses.replace(PLAN, total=9, log_every=2, checkpoint_every=5)
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        looped(tmp_path, plan, run, Ones(), teacher_variables=np.float32(2.0))
        final = looped(tmp_path, dataclasses.replace(plan, total=12), run, Ones(), teacher_variables=np.float32(2.0))
    assert final.params == 12 * 2 * 8
    messages = [record.getMessage() for record in caplog.records]
    assert sum("Compiling" in text and "uint8[8,1,1,1]" in text for text in messages) == 1, messages

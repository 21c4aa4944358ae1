"""Networks that train side by side leave checkpoints and metrics of their own."""

import dataclasses
import json
import shutil

import chex
import numpy as np
import pytest

from rnas import steps
from rnas.objectives import ArmTerms
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import Block
from rnas.training.metrics_log import MetricsLog
from rnas.training.stacked_records import StackedCheckpoints, StackedLog
from rnas.training.trainer import DivergedError, Plan, Trainer, stage_key

NAMES = ("arm_a", "arm_b", "arm_c")
PLAN = Plan("train", 8, 4, log_every=4, checkpoint_every=2, validate_every=2, seed=3, networks=NAMES)


def state(step, values=(1.0, 2.0, 3.0)):
    """Three networks whose only weight is that of `values` times the step."""
    own = [
        State(np.int32(step), {"w": np.float32(step * value)[...]}, {}, {"n": np.int32(step)[...]}) for value in values
    ]
    return dataclasses.replace(steps.stacked(own, (3,)), arm=ArmTerms(np.arange(3.0), np.arange(3.0)))


def each(folder):
    return [Checkpoints(folder / name, best="score") for name in NAMES]


def alone():
    return steps.unstacked(state(0), (3,))[0]


def saved(folder, *numbers, scores=None):
    with StackedCheckpoints(each(folder), (3,)) as checkpoints:
        for number in numbers:
            checkpoints.save(number, state(number), scores and {"score": np.array(scores[number])})


def test_each_network_keeps_its_latest_and_its_own_best_in_the_form_of_one_alone(tmp_path):
    scores = {2: [0.9, 0.1, 0.1], 4: [0.1, 0.9, 0.1], 6: [0.2, 0.2, 0.1], 8: [0.3, 0.3, 0.9]}
    saved(tmp_path, *scores, scores=scores)
    for row, best in enumerate((2, 4, 8)):
        with each(tmp_path)[row] as own:
            assert own.steps() == sorted({best, 6, 8})
            for which, step in (("best", best), ("latest", 8)):
                restored = own.restore(alone(), which)
                assert restored.step == step and restored.state.params["w"] == step * (row + 1)
    with StackedCheckpoints(each(tmp_path), (3,)) as checkpoints:
        assert checkpoints.steps() == [6, 8]
        restored = checkpoints.restore(state(0))
    assert restored.step == 8
    chex.assert_trees_all_equal(restored.state, state(8))


def test_nothing_saved_is_nothing_restored(tmp_path):
    with StackedCheckpoints(each(tmp_path), (3,)) as checkpoints:
        assert checkpoints.restore(state(0)) is None and checkpoints.steps() == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damaged", [False, True])
def test_networks_that_are_not_equally_far_go_on_from_where_all_have_been(tmp_path, damaged):
    """The process was killed after the first network had saved step 6, or the others' step 6 is damaged."""
    saved(tmp_path, 2, 4, 6)
    for name in NAMES[1:]:
        if damaged:
            (tmp_path / name / "6" / "record" / "metadata").write_text("{")
        else:
            shutil.rmtree(tmp_path / name / "6")
    with StackedCheckpoints(each(tmp_path), (3,)) as checkpoints:
        restored = checkpoints.restore(state(0))
        assert restored.step == 4
        chex.assert_trees_all_equal(restored.state, state(4))
        for number in (5, 6, 8):  # an interruption may come at any step
            checkpoints.save(number, state(number))
    for row, checkpoints in enumerate(each(tmp_path)):
        with checkpoints:
            assert checkpoints.steps() == [6, 8]
            assert checkpoints.restore(alone(), at_most=7).state.params["w"] == 6 * (row + 1)


# -- the host loop around a step that can be followed by hand -------------------------------------------


class Rows:
    most = 4

    def dispatch(self, first, count):
        return Block(None, None, np.arange(first, first + count))


def advance(bad=steps.NEVER, network=0):
    """A program that adds a third of its value to each network; `network` is no number from step `bad` on."""

    def run(state, images, labels, rows, count, teacher_variables, root):
        own = np.array([1.0, 2.0, 3.0], np.float32)
        new = state.replace(step=state.step + count, params={"w": state.params["w"] + own * count})
        new = new.replace(opt_state={"n": state.opt_state["n"] + count})
        nonfinite = np.full(3, steps.NEVER)
        nonfinite[network] = bad if bad < int(new.step) else steps.NEVER
        sums = {"loss": 4 * count * own, "count": np.full(3, 4.0 * count), "nonfinite_step": nonfinite}
        return new, sums

    return run


def fitted(folder, run=None, plan=PLAN):
    logs = StackedLog([MetricsLog(folder, name) for name in NAMES])
    records = StackedCheckpoints(each(folder / "checkpoints"), (3,)), logs

    def validate(state):
        return {"score": np.asarray(state.params["w"]) % 7}

    return Trainer(plan, run or advance(), Rows(), *records, validate=validate).fit(state(0))


def rows_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{**line, "time": None} for line in lines]


def test_a_trainer_of_several_networks(tmp_path):
    final = fitted(tmp_path)
    chex.assert_trees_all_equal(final, state(8))
    for row, name in enumerate(NAMES):
        lines = [line for line in rows_of(tmp_path) if line["stage"] == name]
        losses = [(line["step"], line["loss"]) for line in lines if line["split"] == "train"]
        assert {step for step, _ in losses} == {2, 4, 6, 8} and {loss for _, loss in losses} == {row + 1.0}
        scores = {line["step"]: line["score"] for line in lines if line["split"] == "validation"}
        assert scores == {step: step * (row + 1) % 7 for step in (2, 4, 6, 8)}
        with each(tmp_path / "checkpoints")[row] as own:
            best = max(scores, key=lambda step: (scores[step], step))
            assert own.restore(alone(), "best").step == best


def test_resumed_from_where_one_network_was_ahead_it_equals_the_undisturbed_one(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fitted(whole)
    shutil.copytree(whole, cut)
    for name in NAMES[:2]:
        shutil.rmtree(cut / "checkpoints" / name / "8")
    chex.assert_trees_all_equal(fitted(cut), state(8))
    order = lambda line: (line["step"], line["split"], line["stage"])  # noqa: E731
    assert sorted(rows_of(cut), key=order) == sorted(rows_of(whole), key=order)
    for one, other in zip(each(whole / "checkpoints"), each(cut / "checkpoints"), strict=True):
        with one, other:
            for which in ("best", "latest"):
                found, expected = other.restore(alone(), which), one.restore(alone(), which)
                assert found.step == expected.step
                chex.assert_trees_all_equal(found.state, expected.state)


def test_the_network_that_diverged_is_named(tmp_path):
    with pytest.raises(
        DivergedError, match="'arm_b' diverged: the loss of step 5, .* the checkpoint of step 4 is left"
    ):
        fitted(tmp_path, advance(bad=5, network=1))


def test_every_seed_has_the_key_that_it_has_alone():
    keys = stage_key((3, 5), "train")
    assert keys.shape == (2,) and keys[1] == stage_key(5, "train")

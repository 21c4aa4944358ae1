"""Programs on chosen examples of a set, in batches of a few sizes."""

import jax
import numpy as np
import pytest

from rnas.data.datasets import Split
from rnas.evaluation import runner as runners
from rnas.evaluation.runner import Runner, pixels

COUNT = 45
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 2, 1), np.uint8)
SPLIT = Split(IMAGES, np.arange(COUNT) % 5, 2 * np.arange(COUNT) + 1)
KEY = jax.random.key(4)


def predict(variables, images):
    return variables * images.reshape(len(images), -1)


def program(logits_fn, images, labels, keys, settings, carry):
    noise = jax.vmap(jax.random.uniform)(keys)
    return {"logits": logits_fn(images) + settings, "labels": labels, "noise": noise}, carry


@pytest.fixture
def runner():
    return Runner(predict, [4, 8, 16])


def expected_noise(rows):
    return np.array([jax.random.uniform(jax.random.fold_in(KEY, SPLIT.ids[row])) for row in rows])


def short_of_memory(monkeypatch, most):
    """No batch above `most` examples over all devices fits; returns the sizes that were tried."""
    original, tried = runners.run_frozen, []

    def frozen(*arguments):
        run = original(*arguments)

        def call(variables, images, *rest):
            tried.append(images.shape[0] * images.shape[1])
            if tried[-1] > most:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
            return run(variables, images, *rest)

        return call

    monkeypatch.setattr(runners, "run_frozen", frozen)
    return tried


def test_bytes_become_pixels():
    found = pixels(np.array([0, 51, 255], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([0, 51, 255]) / np.float32(255))
    same = np.array([0.25], np.float32)
    assert pixels(same) is same


def test_rows_are_packed_into_the_largest_size(runner):
    rows = np.arange(COUNT)[::-1]
    cut = list(runner.cut_batches(rows))
    assert [len(batch) for batch in cut] == [16, 16, 13]
    np.testing.assert_array_equal(np.concatenate(cut), rows)
    assert list(runner.cut_batches(rows[:0])) == []


@pytest.mark.parametrize("count", [1, 4, 5, 13, 16])
def test_each_row_gets_its_own_answer(runner, count):
    rows = np.random.default_rng(count).permutation(COUNT)[:count]
    carry = {"a": np.arange(count) * 10.0, "b": np.arange(2 * count).reshape(count, 2)}
    found, left = runner.run_batch(np.float32(2), SPLIT, program, rows, KEY, np.float32(0.5), carry)
    np.testing.assert_allclose(found["logits"], 2 * pixels(IMAGES[rows]).reshape(count, -1) + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(found["labels"], SPLIT.labels[rows])
    np.testing.assert_array_equal(found["noise"], expected_noise(rows))
    np.testing.assert_array_equal(left["a"], carry["a"])
    np.testing.assert_array_equal(left["b"], carry["b"])
    assert runner._compilation.done == {(program, 4 if count <= 4 else 8 if count <= 8 else 16)}
    assert runner.compilations == 1


def test_other_weights_are_looked_at(runner):
    rows = np.arange(3)
    for weight in (np.float32(1), np.float32(3), np.float32(1)):
        found, _ = runner.run_batch(weight, SPLIT, program, rows, KEY, np.float32(0))
        np.testing.assert_allclose(found["logits"], weight * pixels(IMAGES[rows]).reshape(3, -1), rtol=1e-6)


def test_all_rows_are_run(runner):
    rows = np.arange(COUNT)[::-1]
    found, _ = runner.run(np.float32(1), SPLIT, program, rows, KEY, np.float32(0))
    np.testing.assert_array_equal(found["noise"], expected_noise(rows))
    np.testing.assert_array_equal(found["labels"], SPLIT.labels[rows])


def test_sizes_need_not_divide_among_the_devices():
    rows = np.arange(COUNT)
    found, _ = Runner(predict, [5, 13]).run(np.float32(1), SPLIT, program, rows, KEY, np.float32(0))
    np.testing.assert_array_equal(found["noise"], expected_noise(rows))
    np.testing.assert_array_equal(found["labels"], SPLIT.labels)


def test_batches_are_halved_when_memory_is_short(monkeypatch):
    tried = short_of_memory(monkeypatch, 4)
    runner = Runner(predict, [4, 16])
    rows, carry = np.arange(14), np.arange(14.0)
    found, left = runner.run_batch(np.float32(1), SPLIT, program, rows, KEY, np.float32(0), carry)
    assert tried[:3] == [16, 8, 4] and set(tried[3:]) == {4}
    np.testing.assert_array_equal(found["noise"], expected_noise(rows))
    np.testing.assert_array_equal(left, carry)
    tried.clear()
    assert [len(batch) for batch in runner.cut_batches(rows)] == [4, 4, 4, 2]
    runner.run(np.float32(1), SPLIT, program, rows, KEY, np.float32(0))
    assert set(tried) == {4}, "what did not fit is not tried again"


def test_too_little_memory_for_one_image_a_device_is_an_error(monkeypatch):
    tried = short_of_memory(monkeypatch, 0)
    runner = Runner(predict, [4, 8])
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        runner.run(np.float32(1), SPLIT, program, np.arange(8), KEY, np.float32(0))
    assert tried == [8, 4]


def test_other_errors_are_not_mistaken_for_a_lack_of_memory(monkeypatch):
    tried = []

    def frozen(*arguments):
        def call(variables, images, *rest):
            tried.append(len(images))
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")

        return call

    monkeypatch.setattr(runners, "run_frozen", frozen)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        Runner(predict, [16]).run(np.float32(1), SPLIT, program, np.arange(8), KEY, np.float32(0))
    assert len(tried) == 1


def test_runners_of_one_architecture_share_what_is_compiled():
    """As for the baselines of a run: another network's weights are no reason to compile again."""
    traced = []

    def counting(logits_fn, images, labels, keys, settings, carry):
        traced.append(images.shape)
        return {"logits": logits_fn(images)}

    def other(variables, images):
        return predict(variables, images)

    for architecture, variables in ((predict, 1.0), (predict, 2.0), (other, 1.0)):
        runner = Runner(architecture, [8])
        found = runner.run(np.float32(variables), SPLIT, counting, np.arange(8), KEY, None)
        np.testing.assert_allclose(found["logits"], variables * pixels(IMAGES[:8]).reshape(8, -1), rtol=1e-6)
    assert len(traced) == 2


def test_a_model_without_a_hash_runs_too():
    class Model(list):
        def __call__(self, variables, images):
            return self[0] * predict(variables, images)

    for scale in (1.0, 2.0):
        model = Model([scale])
        with pytest.raises(TypeError, match="unhashable"):
            hash(model)
        found, _ = Runner(model, [8]).run(np.float32(1), SPLIT, program, np.arange(8), KEY, np.float32(0))
        np.testing.assert_allclose(found["logits"], scale * pixels(IMAGES[:8]).reshape(8, -1), rtol=1e-6)

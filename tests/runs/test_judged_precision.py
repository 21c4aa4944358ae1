"""What computes in bfloat16 while it is trained is judged in float32."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.artifacts.architecture import WidthArchitecture
from rnas.config.load import load_config
from rnas.models import build_model
from rnas.runs.recipes import recipe
from rnas.runs.run import predict
from rnas.runs.stage_trainers import checkpoints, first_state
from rnas.runs.stages import open_run
from rnas.runs.trained_models import evaluated_model
from rnas.teachers.teacher import save_teacher

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
IMAGES = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)


@pytest.fixture
def run(tmp_path):
    """A run in bfloat16 whose student and teacher have random weights."""
    run = open_run(load_config(f"{DIGITS}:", ["--config.dtype=bfloat16", "--config.finetune.epochs=0"]), tmp_path)
    space = run.search.space
    run.save_architecture(WidthArchitecture(space=space, widths=space.smallest, image_shape=(8, 8, 1), num_classes=10))
    variables = weights(run.search.network(run.architecture))
    with checkpoints(run, "train") as stored:
        stored.save(1, jax.device_get(first_state(recipe(run.config, "train"), variables)), {"score": 0.5})
    name = run.config.teacher.architecture
    teacher = build_model(name, num_classes=10, mean=(0.5,), std=(0.25,))
    save_teacher(tmp_path / "teacher", teacher, weights(teacher), architecture=name, image_shape=(8, 8, 1), origin={})
    return run


def weights(network):
    return dict(jax.jit(functools.partial(network.init, jax.random.key(0)))(IMAGES))


def logits_of(network, variables):
    return jax.jit(lambda variables: network.apply(variables, IMAGES, train=False)[0])(variables)


def test_held_out_images_are_judged_in_float32(run):
    """They choose checkpoints and stop what overfits to its attack."""
    network, search = run.search.network(run.architecture), run.search
    exact = logits_of(network.clone(dtype=None), variables := weights(network))
    np.testing.assert_allclose(jax.jit(predict(network))(variables, IMAGES), exact, atol=1e-6)
    state = search.initial_state(0)
    assert search.supernet.dtype == jnp.bfloat16
    assert "bf16" not in str(jax.make_jaxpr(search.predict)(search.pack(state), IMAGES))


def test_student_and_teacher_are_judged_in_float32(run):
    trained = {"student": run.search.network(run.architecture), "teacher": run.teacher.model}
    for name, network in trained.items():
        judged = evaluated_model(run, name)
        exact, short = (logits_of(made, judged.variables) for made in (network.clone(dtype=None), network))
        found = np.abs(jax.jit(judged.predict)(judged.variables, IMAGES) - exact).max()
        assert network.dtype == jnp.bfloat16 and found < 1e-3 * np.abs(short - exact).max()

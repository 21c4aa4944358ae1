"""Imported networks compute what PyTorch computed with the same tensors: its figures are kept, it is not needed."""

import jax
import numpy as np
import pytest
from torch_figures import FILE, MEAN, NETWORKS, STD, STEP, direction, images
from torch_files import write_pt
import torch_networks as nets

from rnas.teachers import import_torch


def logits_and_gradient(teacher, pixels):
    """Logits and input gradients of a teacher in double precision."""
    with jax.enable_x64(True):

        @jax.jit
        def ours(variables, pixels):
            def objective(pixels):
                logits, _ = teacher.apply(variables, pixels)
                return (logits * direction(logits.shape)).sum(), logits

            return jax.grad(objective, has_aux=True)(pixels)

        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), teacher.variables)
        gradient, logits = jax.device_get(ours(variables, pixels.astype(np.float64)))
    assert logits.dtype == np.float64
    return logits, gradient


def assert_near(ours, theirs, tolerance):
    np.testing.assert_allclose(ours, theirs, atol=tolerance * float(np.abs(theirs).max()), rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradients_are_those_that_pytorch_gave(tmp_path, name):
    shapes, _, size = NETWORKS[name]
    write_pt(tmp_path / "checkpoint.pt", {"state_dict": nets.filled(shapes), "epoch": 3})
    teacher = import_torch(tmp_path / "checkpoint.pt", name, (MEAN, STD), image_size=size)
    assert teacher.architecture == name and teacher.num_classes == 7 and teacher.image_shape == (size, size, 3)
    logits, gradient = logits_and_gradient(teacher, images(size))
    theirs = np.load(FILE)[name]
    assert_near(logits.reshape(-1), theirs[: logits.size], 1e-6)
    assert_near(gradient.reshape(-1)[::STEP], theirs[logits.size :], 1e-6)

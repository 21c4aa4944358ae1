"""A small network with BatchNorm, and what an explicit Jacobian says of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import ConvBatchNorm
from rnas.ntk import frozen_statistics


class _Small(nn.Module):
    """Two normalised convolutions and a classifier of K = 3 logits."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.relu(ConvBatchNorm(4, momentum=self.momentum)(images, train=train))
        x = nn.relu(ConvBatchNorm(5, 1, momentum=self.momentum)(x, train=train))
        return nn.Dense(3)(x.mean((1, 2))), {}


@pytest.fixture(scope="session")
def small_model():
    return _Small()


@pytest.fixture(scope="session")
def small(small_model):
    """(apply, variables with the statistics of the images, images [6, 5, 5, 2], labels [6])."""
    images = jax.random.uniform(jax.random.key(1), (6, 5, 5, 2))
    model = small_model
    variables = jax.jit(lambda key: frozen_statistics(model, model.init(key, images), images))(jax.random.key(0))
    return model.apply, variables, images, jnp.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="session")
def jacobian():
    """Jacobian [N, K, P] of the logits by reverse mode on one vector of parameters; float64, on the host."""

    def jacobian(apply, variables, images, keep=lambda path: True):
        params, others = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        found = jax.jit(jax.jacrev(lambda params: apply({"params": params, **others}, images)[0]))(params)
        leaves = [leaf for path, leaf in jax.tree.leaves_with_path(found) if keep(jax.tree_util.keystr(path))]
        return np.concatenate([np.asarray(leaf, np.float64).reshape(*leaf.shape[:2], -1) for leaf in leaves], -1)

    return jacobian

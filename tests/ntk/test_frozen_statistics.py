"""Frozen statistics give in inference what the batch gives in training, and do not couple examples."""

import jax
import numpy as np

from rnas.ntk import frozen_statistics


def test_inference_on_the_batch_is_training(small_network, small_model):
    _, variables, images, _ = small_network
    train = jax.jit(lambda v, x: small_model.apply(v, x, train=True, mutable=["batch_stats"]))
    (in_training, _), _ = train(variables, images)
    infer = jax.jit(lambda v, x: small_model.apply(v, x)[0])
    in_inference = infer(variables, images)
    np.testing.assert_allclose(in_inference, in_training, atol=1e-5)
    np.testing.assert_allclose(infer(variables, images[2:3])[0], in_inference[2], atol=1e-6)


def test_nothing_of_former_statistics_is_left(small_network, small_model):
    _, variables, images, _ = small_network
    freeze = jax.jit(lambda v: frozen_statistics(small_model, v, images))
    once, again = (
        freeze(variables),
        freeze({**variables, "batch_stats": jax.tree.map(lambda x: x + 3, variables["batch_stats"])}),
    )
    jax.tree.map(np.testing.assert_array_equal, once, again)
    jax.tree.map(np.testing.assert_array_equal, once["params"], variables["params"])

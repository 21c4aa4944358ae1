"""The state of every known network found in every wrapper in which one is published."""

import itertools

import numpy as np
import pytest
import torch_networks as nets

from rnas.teachers.families import recognise
from rnas.teachers.readers.unwrapping import unwrap

NETWORKS = {
    "resnet18_w4": nets.resnet(18, 4),
    "resnet50_w4": nets.resnet(50, 4),
    "preact_resnet18_w4": nets.preact(18, 4),
    "preact_resnet18_w4_v1_nobn": nets.preact(18, 4, last=False),
    "wide_resnet_10_1": nets.wide(10, 1),
    "dm_wide_resnet_10_1": nets.deepmind_wide(10, 1),
    "dm_preact_resnet18_w4": nets.deepmind_preact(18, 4),
    "ra_wide_resnet_1-1-1_w4-4-8-8": nets.deepmind((1, 1, 1), (4, 8, 8), stem=4, squeeze=True),
    "imagenet_resnet18_w4": nets.torchvision(18, 4),
    "imagenet_wide_resnet50_2_w4": nets.torchvision(50, 4, widening=2),
}
ORDER = ("state_dict", "model_state_dict", "net", "model", "last", "best")
MEAN, STD = np.full((1, 3, 1, 1), 0.5, np.float32), np.full((1, 3, 1, 1), 0.25, np.float32)


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


# What a state becomes in a file, and whether its normalisation is there too.
WRAPPERS = {
    "bare": (lambda state, other: state, False),
    "bare, with mu and sigma": (lambda state, other: {**state, "mu": MEAN, "sigma": STD}, True),
    **{
        f"bare, {prefix}": (lambda state, other, prefix=prefix: under(prefix, state), False)
        for prefix in ("module.", "model.", "backbone.", "net.", "0.", "1.", "module.model.")
    },
    "RobustBench": (
        lambda state, other: {
            "state_dict": {**under("model.", state), "normalize.mean": MEAN, "normalize.std": STD},
            "epoch": 1,
        },
        True,
    ),
    "averaged": (
        lambda state, other: {
            "model_state_dict": {**under("module.1.", state), "module.0.mean": MEAN, "module.0.std": STD},
            "unaveraged_model_state_dict": under("module.1.", other),
        },
        True,
    ),
    "ARD": (lambda state, other: {"net": under("module.", state), "acc": 0.5, "epoch": 1}, False),
    "MadryLab": (
        lambda state, other: {
            "model": {
                **under("module.model.", state),
                **under("module.attacker.model.", other),
                "module.normalizer.new_mean": MEAN[0],
                "module.normalizer.new_std": STD[0],
                "module.attacker.normalize.new_mean": STD[0],
                "module.attacker.normalize.new_std": MEAN[0],
            },
            "optimizer": {"state": {}, "param_groups": []},
        },
        True,
    ),
    "compiled": (lambda state, other: {"state_dict": under("_orig_mod.", state)}, False),
    "compiled in parts": (
        lambda state, other: under("module.", {name.replace(".", "._orig_mod.", 1): w for name, w in state.items()}),
        False,
    ),
    "AveragedModel": (lambda state, other: {"n_averaged": np.array(5), **under("module.", state)}, False),
    "best and last": (lambda state, other: {"best": other, "last": state}, False),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_found_in_every_wrapper(name, wrapper):
    wrap, normalised = WRAPPERS[wrapper]
    state, other = (
        {key: np.full(shape, value, np.float32) for key, shape in NETWORKS[name].items()} for value in (1, 2)
    )
    found = unwrap(wrap(state, other))
    assert found.tensors.keys() == {key for key in state if not key.endswith("num_batches_tracked")}
    assert all(tensor is state[key] for key, tensor in found.tensors.items())
    assert recognise({key: tensor.shape for key, tensor in found.tensors.items()}).architectures[0] == name
    if normalised:
        np.testing.assert_array_equal(found.normaliser, ((0.5,) * 3, (0.25,) * 3))
    else:
        assert found.normaliser is None


@pytest.mark.parametrize(("taken", "left"), list(itertools.combinations(ORDER, 2)))
def test_of_several_states_the_first_in_the_published_order_is_taken(taken, left):
    state, other = {"w": np.ones(1)}, {"w": np.zeros(1)}
    for content in ({taken: state, left: other}, {left: other, taken: state}):
        found = unwrap(content)
        assert found.tensors["w"] is state["w"]
        assert (found.origin["entry"], found.origin["other_entries"]) == (taken, [left])


@pytest.mark.parametrize("content", [{1: {"w": np.ones(1)}}, {"epochs": {2: {"w": np.ones(1)}}}])
def test_a_key_that_is_a_number_can_be_named_as_it_is_offered(content):
    with pytest.raises(ValueError, match="name one with --entry: ") as error:
        unwrap(content)
    offered = str(error.value).split("'")[1]
    assert unwrap(content, offered).tensors["w"] == 1 and unwrap(content, offered).origin["entry"] == offered

"""The benchmark of the search step compares like with like, and runs."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.steps.optimizer import Optimizer

torch = pytest.importorskip("torch", reason="the other side of this benchmark is PyTorch")

LAYERS = {"bn/scale": "bn.weight", "kernel": "weight", "/": "."}


@pytest.fixture(scope="module")
def modules(script):
    """The files of the benchmark."""
    names = ("search_problem", "search_jax", "search_torch", "search_step")
    return types.SimpleNamespace(**{name: script(name) for name in names})


def in_torch_form(params):
    """Leaves under the names and in the layouts of the PyTorch network."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        name = f"blocks.{name.removeprefix('block')}" if name.startswith("block") else name
        for ours, theirs in LAYERS.items():
            name = name.replace(ours, theirs)
        found[name] = torch.tensor(np.transpose(leaf, (3, 2, 0, 1) if leaf.ndim == 4 else None))
    return found


def test_both_sides_have_the_same_loss_and_gradients(modules):
    problem = modules.search_problem.make_problem("s1", 4)
    # With this optimiser a step subtracts the gradient.
    ours = modules.search_jax.Search(problem, 1, Optimizer(optax.identity(), optax.constant_schedule(1.0)))
    before = jax.device_get(ours.state)
    keys = jax.vmap(lambda _: steps.step_keys(ours.root, 0, problem.batch)[:2], axis_name=steps.AXIS)(jnp.zeros(1))
    widths_key, tutors_key = (key[0] for key in keys)
    widths = ours.sampling.widths(widths_key, before.architecture["widths"], 0)
    tutors = ours.sampling.tutors(tutors_key, before.architecture["tutors"], 0)
    loss = ours(1)
    gradients = jax.tree.map(np.subtract, before.params, jax.device_get(ours.state.params))

    theirs = modules.search_torch.Search(problem)
    missing, unknown = theirs.network.load_state_dict(in_torch_form(before.params), strict=False)
    assert not unknown and not set(missing) & {name for name, _ in theirs.network.named_parameters()}
    expected = theirs.loss(
        torch.from_numpy(problem.rows(1)[0]),
        [torch.tensor(np.asarray(m)) for m in widths],
        torch.tensor(np.asarray(tutors)),
    )
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-4)
    for name, gradient in in_torch_form(gradients).items():
        scale = float(gradient.abs().max()) + 1e-2  # biases ahead of a BatchNorm have no gradient, only rounding
        torch.testing.assert_close(
            dict(theirs.network.named_parameters())[name].grad, gradient, rtol=1e-3, atol=1e-3 * scale, msg=name
        )


def test_it_prints_one_line_of_results(modules, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    sizes = ["--space=s1", "--batch=4", "--repeats=2", "--steps=1", "--threads=1"]
    modules.search_step.main([*sizes, "--no-compile", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["name"] == "search_step" and result["sizes"]["batch"] == 4 and result["threads"] == 1
    assert {side: len(times) for side, times in result["seconds"].items()} == {"ours": 2, "eager": 2}
    assert result["ours"] > 0 and result["theirs"] == result["eager"] == np.median(result["seconds"]["eager"])
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"], rel=1e-2)
    # Untrained networks that differ in their random numbers only.
    assert result["loss"]["ours"] == pytest.approx(result["loss"]["eager"], rel=0.2)
    assert {"jax", "torch", "numpy"} < set(result["versions"])


@pytest.mark.parametrize("wrong, message", [("--batch=0", "at least 1"), ("--threads=100000", "may use")])
def test_it_refuses_what_it_cannot_do(modules, capsys, wrong, message):
    with pytest.raises(SystemExit):
        modules.search_step.main([wrong])
    assert message in capsys.readouterr().err

"""The benchmark of a table's training step compares like with like, and runs."""

import json
import types

import jax
import numpy as np
import optax
import pytest

from rnas.models.nasbench201_network import fixed_variables
from rnas.steps.optimizer import Optimizer

torch = pytest.importorskip("torch", reason="the other side of this benchmark is PyTorch")


@pytest.fixture(scope="module")
def modules(script):
    """The files of the benchmark."""
    names = ("table_problem", "table_jax", "table_torch", "table_step")
    return types.SimpleNamespace(**{name: script(name) for name in names})


def in_torch_form(tree):
    """Leaves of the fixed network under the names and in the layouts of the PyTorch one."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        parts = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        parts = [part for part in parts if not part.startswith("nor_conv")]
        if parts[0].startswith(("stage", "reduction")):
            parts = ["blocks", parts[0].replace(".", "_"), *parts[1:]]
        last = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
        parts[-1] = last.get(parts[-1], parts[-1])
        transposed = np.transpose(leaf, (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.T
        found[".".join(parts)] = torch.tensor(np.ascontiguousarray(transposed))
    return found


@pytest.mark.slow
def test_both_sides_have_the_same_loss_and_gradients(modules):
    problem = modules.table_problem.make_problem("324102", 4, 2, 1, side=8)
    # With this optimiser a step subtracts the gradient, also of what the cell does not use: it has none.
    plain = Optimizer(optax.identity(), optax.constant_schedule(1.0))
    ours = modules.table_jax.Training(problem, 1, plain, start="none")
    before = jax.device_get(ours.state)
    loss = ours(1)
    after = jax.device_get(ours.state)

    theirs = modules.table_torch.Training(problem, start="none")
    given = in_torch_form(fixed_variables(before.variables, problem.arch))
    missing, unknown = theirs.network.load_state_dict(given, strict=False)
    assert not unknown and all(name.endswith(("num_batches_tracked", "mean", "std")) for name in missing)
    expected = theirs.loss(torch.from_numpy(problem.rows(1)[0]))
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-4)
    gradients = {"params": jax.tree.map(np.subtract, before.params, after.params)}
    found = in_torch_form(fixed_variables(gradients, problem.arch)["params"])
    parameters = dict(theirs.network.named_parameters())
    assert found.keys() == parameters.keys()
    for name, gradient in found.items():
        scale = float(gradient.abs().max()) + 1e-2
        torch.testing.assert_close(parameters[name].grad, gradient, rtol=1e-3, atol=1e-3 * scale, msg=name)


@pytest.mark.slow
def test_it_prints_one_line_of_results(modules, capsys, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    sizes = ["--channels=2", "--cells=1", "--batch=4", "--repeats=2", "--steps=1", "--threads=1"]
    modules.table_step.main([*sizes, "--no-compile", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["name"] == "table_step" and result["sizes"]["arch"] == "333133" and result["threads"] == 1
    assert {side: len(times) for side, times in result["seconds"].items()} == {"ours": 2, "eager": 2}
    assert result["theirs"] == result["eager"] == np.median(result["seconds"]["eager"])
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"], rel=1e-2)
    # Untrained networks that differ in their random numbers only.
    assert result["loss"]["ours"] == pytest.approx(result["loss"]["eager"], rel=0.3)
    assert {"jax", "torch", "numpy"} < set(result["versions"])


@pytest.mark.parametrize("wrong, message", [("--batch=0", "at least 1"), ("--arch=333153", "nearest code")])
def test_it_refuses_what_it_cannot_do(modules, capsys, wrong, message):
    with pytest.raises(SystemExit):
        modules.table_step.main([wrong])
    assert message in capsys.readouterr().err

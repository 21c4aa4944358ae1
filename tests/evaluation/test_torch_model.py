"""PyTorch models under the attacks of JAX: what they are given, what comes back, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.attacks import pgd
from rnas.cli import platform
from rnas.evaluation.torch_model import evaluated_torch, load_torch, torch_logits
from rnas.main import main

torch = pytest.importorskip("torch", reason="attacks models of PyTorch, which is not installed")

SHAPE, CLASSES = (3, 4, 2), 5  # [H, W, C], no two alike


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal((*SHAPE, CLASSES)).astype(np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(1).random((6, *SHAPE), np.float32)


def linear(weights):
    """images [N, C, H, W] → Σ pixels · weights, of a module with the weights [H, W, C, K] in PyTorch's order."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(np.prod(SHAPE), CLASSES, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(weights.transpose(3, 2, 0, 1).reshape(CLASSES, -1)))
    return module.eval()


def in_jax(weights):
    return lambda images: jnp.einsum("nhwc,hwck->nk", images, weights)


def test_logits_and_gradients_are_those_of_the_model(weights, images):
    logits_fn = torch_logits(linear(weights))
    np.testing.assert_allclose(jax.jit(logits_fn)(images), in_jax(weights)(images), rtol=1e-5, atol=1e-5)
    factors = np.arange(1, CLASSES + 1, dtype=np.float32)
    gradient = jax.jit(jax.grad(lambda x: (logits_fn(x) * factors[None]).sum()))(images)
    expected = np.broadcast_to(weights @ factors, images.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def test_it_can_be_mapped(weights, images):
    """As FAB does, which takes the gradient of every logit."""
    logits_fn = torch_logits(linear(weights))
    _, pull_back = jax.vjp(logits_fn, images)
    basis = np.broadcast_to(np.eye(CLASSES, dtype=np.float32)[:, None], (CLASSES, len(images), CLASSES))
    (slopes,) = jax.vmap(pull_back)(basis)
    expected = np.broadcast_to(np.moveaxis(weights, -1, 0)[:, None], (CLASSES, *images.shape))
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-5)
    pairs = images.reshape(2, 3, *SHAPE)
    np.testing.assert_allclose(
        jax.vmap(logits_fn)(pairs).reshape(6, CLASSES), in_jax(weights)(images), rtol=1e-5, atol=1e-5
    )


def test_an_attack_finds_what_it_finds_on_the_same_model_in_jax(weights, images):
    labels = np.asarray(in_jax(weights)(images)).argmax(1)
    both = [torch_logits(linear(weights)), in_jax(weights)]
    settings = dict(epsilon=0.02, key=jax.random.key(0), steps=5)
    theirs, ours = (pgd(logits_fn, images, labels, **settings) for logits_fn in both)
    assert 0 < ours.success.sum() < len(images)
    np.testing.assert_array_equal(theirs.success, ours.success)
    np.testing.assert_allclose(theirs.images, ours.images, atol=1e-6)


def test_a_model_that_works_in_place_changes_no_array_of_jax(images):
    def model(pixels):
        return pixels.detach().clone().mul_(2).sum((2, 3)) + pixels.mul(0).sum((2, 3))

    def in_place(pixels):
        if not pixels.requires_grad:
            pixels.zero_()
        return model(pixels)

    before = images.copy()
    torch_logits(in_place)(images)
    np.testing.assert_array_equal(images, before)


def training(weights):
    return linear(weights).train()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (training, "in training mode: call model.eval"),
        (lambda w: lambda x: (linear(w)(x), x), r"returns a tuple, expected a tensor, its logits; wrap it: lambda"),
        (lambda w: lambda x: {"logits": linear(w)(x)}, "returns a dict, expected a tensor"),
        (lambda w: lambda x: linear(w)(x).argmax(1), r"returns torch.int64; attacks need its logits"),
        (lambda w: lambda x: linear(w)(x)[:, 0], r"returns \[1\] for one image, expected \[1, K\]"),
        (lambda w: lambda x: x @ torch.zeros(2, 3), r"does not take images \[1, 2, 3, 4\] \(channels first"),
        (lambda w: torch.nn.Conv2d(3, 5, 1).eval(), r"does not take images .*If it wants channels last, wrap it"),
    ],
)
def test_what_is_no_classifier_is_refused(make, message, weights, images):
    with pytest.raises(ValueError, match=message):
        jax.jit(torch_logits(make(weights)))(images)


def test_a_model_of_other_images_is_refused_by_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(platform, "prepare", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    for classes, channels, message in (
        (3, 1, "has 3 classes; 'digits' has images of"),
        (10, 3, "does not take images"),
    ):
        text = f"nn.Sequential(nn.Conv2d({channels}, {classes}, 8), nn.Flatten())"
        (tmp_path / "model.py").write_text(f"from torch import nn\n\ndef load():\n    return {text}.eval()\n")
        argv = ["attack", "--torch=model.py:load", "--dataset=digits", "--data-dir=data", "--count=2"]
        assert main(argv) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "attacks").exists()


def test_a_model_is_recognised_by_its_weights(weights):
    def found(weights):
        return evaluated_torch(linear(weights), SHAPE, name="linear", source="here")

    model, same = found(weights), found(weights)
    assert model.hash == same.hash != found(weights + 1e-6).hash
    assert (model.kind, model.num_classes, model.params) == ("function", CLASSES, weights.size)


def test_where_the_model_is_found(tmp_path, monkeypatch):
    text = "import torch\n\ndef load():\n    return torch.nn.Flatten()\n\nready = load()\nnumber = 3\n"
    (tmp_path / "own_model.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    for place in ("own_model.py:load", "own_model:load", "own_model:ready", f"{tmp_path}/own_model.py:load"):
        assert isinstance(load_torch(place), torch.nn.Flatten)
    for place, message in (
        ("own_model.py", "expected MODULE:FUNCTION or FILE.py:FUNCTION, such as model.py:load"),
        ("there.py:load", "there is no file there.py"),
        ("own_modle:load", "No module named 'own_modle'; it is neither installed nor in"),
        ("own_model:lod", "has no function 'lod'; it has load, ready"),
        ("own_model:number", "has no function 'number'"),
    ):
        with pytest.raises(ValueError, match=message):
            load_torch(place)

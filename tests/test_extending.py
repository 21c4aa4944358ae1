"""An adversarial method, an attack and a search space of a user's own reach configuration, training, files and page."""

import dataclasses
import json

import pytest

from rnas.attacks import catalogue
from rnas.config.load import load_config, recorded_config
from rnas.main import main
from rnas.objectives import METHODS, cross_entropy, methods
from rnas.runs.stages import open_run
from rnas.spaces import width_space

CONFIG = """
from rnas.config.defaults import rnas_cl

def get_config():
    config = rnas_cl.get_config()
    data = config.data
    data.name, data.image_shape, data.held_out = "digits", (8, 8, 1), 137
    data.crop_padding, data.flip, data.mean, data.std = 1, False, (0.305,), (0.376,)
    config.space = "toy_space"
    config.gamma = config.kl_weight = 0.0
    config.adversarial.epsilon, config.adversarial.step_size, config.adversarial.steps = "0.15", "0.1", 1
    config.adversarial.objective = "none"
    for stage in (config.search, config.train):
        stage.epochs, stage.batch_size = 1, 128
    config.baselines = ("toy_method",)
    config.validation.count, config.validation.steps = 16, 1
    evaluation = config.evaluation
    evaluation.count = evaluation.batch_size = 16
    evaluation.auto_attack = ()
    evaluation.epsilons, evaluation.curve = ("0.15",), ("0",)
    evaluation.attacks = "pgd_100,toy_attack"
    return config
"""


@pytest.fixture
def registered(request):
    """Each is one registration, undone afterwards."""
    for registry in (METHODS, catalogue.CATALOGUE, width_space.SPACES):
        former = dict(registry)
        request.addfinalizer(lambda registry=registry, former=former: (registry.clear(), registry.update(former)))

    @methods.register
    @dataclasses.dataclass(frozen=True)
    class ToyMethod(methods.Method):
        """The mean of clean and adversarial cross-entropy."""

        name = "toy_method"
        label = "Toy method"
        attacks = True
        clean = True
        start = "uniform"

        def loss(self, logits, labels, progress, loss_state):
            return (cross_entropy(logits.clean, labels) + cross_entropy(logits.adversarial, labels)) / 2

    catalogue.register(
        catalogue.Attack("toy_attack", "Toy attack", "ascent", steps=2, step=1 / 2, start="uniform", losses=("ce",))
    )
    width_space.register(
        width_space.WidthSpace(
            "toy_space", (width_space.Stage(8, 1, 1, 2), width_space.Stage(16, 1, 2, 4)), stem_stride=1
        )
    )


@pytest.mark.slow
def test_a_toy_method_attack_and_space_appear_under_their_names(registered, tmp_path, monkeypatch, read_page):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    file, workdir = tmp_path / "toy.py", tmp_path / "run"
    file.write_text(CONFIG)
    options = [f"--config.data.dir={tmp_path / 'data'}"]
    assert main(["run", f"--config={file}", f"--workdir={workdir}", *options]) == 0

    config = recorded_config(workdir)
    assert config.space == "toy_space" and tuple(config.baselines) == ("toy_method",)
    assert json.loads((workdir / "architecture.json").read_text())["space"] == "toy_space"
    assert (workdir / "checkpoints" / "baseline_toy_method").is_dir()

    evaluation = json.loads((workdir / "evaluation.json").read_text())
    found = evaluation["models"]["baseline_toy_method"]
    assert found["kind"] == "method" and found["label"] == "Baseline, Toy method"
    for model in evaluation["models"].values():
        assert (model["toy_attack"]["steps"], model["toy_attack"]["step_size"]) == (2, 0.075)

    text = read_page(workdir / "report.html").said()
    for name in ("Baseline, Toy method", "Toy attack", "toy_space"):
        assert name in text, name


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(CONFIG)

    with pytest.raises(ValueError, match="toy_space"):
        open_run(load_config(str(file), []), tmp_path)
    known = [f"--config.space={'tiny'}", "--config.baselines=()"]
    with pytest.raises(ValueError, match="unknown attack 'toy_attack'; expected one of fgsm"):
        open_run(load_config(str(file), known), tmp_path)

"""`docs/teachers.md`: its commands run as written, on a small network in place of a published one."""

import io
from pathlib import Path
import re
import shlex

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from torch_files import write_pt
import torch_networks as nets

from rnas.cli import platform
from rnas.main import main, parse
from rnas.teachers import load_teacher, registry

ROOT = Path(__file__).resolve().parents[2]
SMALL = "wide_resnet_10_1"
CONFIG = """
from rnas.config import choices
from rnas.config.defaults import rnas_cl

def get_config(space):
    config = rnas_cl.get_config()
    data = config.data
    data.name, data.dir, data.held_out = "coloured", "data", 10
    config.space = "tiny"
    config.attention.size = 4
    config.adversarial.steps = 1
    teacher = config.teacher
    teacher.architecture, teacher.epochs, teacher.batch_size, teacher.steps = "wide_resnet_10_1", 1, 8, 1
    for stage in (config.search, config.train):
        stage.epochs, stage.batch_size, stage.objective = 1, 8, "none"  # a search alternates in five steps or more
    config.baselines = ()
    config.validation.count = 0
    evaluation = config.evaluation
    evaluation.count = evaluation.batch_size = 8
    evaluation.auto_attack = ()
    evaluation.epsilons, evaluation.curve = ("0.1",), ("0", "0.1")
    evaluation.attacks = choices.ATTACKS
    return config
"""


class Coloured(tfds.core.GeneratorBasedBuilder):
    """Images as large as CIFAR-10's, a colour and a brightness for each class, with some noise."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(50), "test": self._generate_examples(10)}

    def _generate_examples(self, count):
        random = np.random.default_rng(count)
        for number in range(count):
            image = random.integers(0, 50, (32, 32, 3))
            image[:, :, number % 3] += 20 * (number % 10)
            file = io.BytesIO()
            Image.fromarray(image.astype(np.uint8)).save(file, "PNG")
            yield number, {"image": file.getvalue(), "label": number % 10}


def commands() -> list[list[str]]:
    """Its commands as words, without `rnas`."""
    text = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    assert all(words[0] == "rnas" for words in lines if words)
    return [words[1:] for words in lines if words]


def test_every_step_is_there():
    assert [" ".join(words[:2]) for words in commands() if words[0] == "teacher"] == [
        "teacher import", "teacher import", "teacher check", "teacher train", "teacher check", "teacher cache",
    ]  # fmt: skip
    assert commands()[-1][0] == "run"
    for words in commands():
        arguments, _ = parse(words)
        if published := getattr(arguments, "published", None):
            registry.find_published(published)
        if config := getattr(arguments, "config", None):
            assert (ROOT / config.partition(":")[0]).is_file()


@pytest.mark.parametrize("until", ["cache", pytest.param("run", marks=pytest.mark.slow)])
def test_its_commands_run(tmp_path, monkeypatch, capsys, until):
    """In a folder of the reader's own; networks, images and figures are few and small."""
    monkeypatch.setattr(platform, "prepare", lambda *_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shapes = nets.wide(10, 1)
    for name, entry in registry.PUBLISHED.items():
        small = entry._replace(architecture=SMALL)
        monkeypatch.setitem(registry.PUBLISHED, name, small)
    for name in ("rnas_cl/cifar10", "teachers/fashion_mnist"):
        config = Path(f"configs/{name}.py")
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG)
    Coloured(data_dir="data", file_format="array_record").download_and_prepare(download_dir="downloads")
    instead = {
        "--architecture=wide_resnet_34_10": [f"--architecture={SMALL}"],
        "--dataset=cifar10": ["--dataset=coloured", "--data-dir=data"],
        "--dataset=fashion_mnist": ["--dataset=coloured", "--data-dir=data"],
        "--count=1000": ["--count=8"],
    }
    used = set()
    for words in commands():
        used |= instead.keys() & set(words)
        if until != "run" and (words[0] == "run" or any("runs/fashion_teacher" in word for word in words)):
            continue  # they train
        if words[:2] == ["teacher", "import"]:
            write_pt(words[2], nets.filled(shapes))
        shortened = [each for word in words for each in instead.get(word, [word])]
        assert main(shortened) == 0, capsys.readouterr().err
    assert used == instead.keys(), "the page has other commands by now"
    rice, mine = load_teacher("teachers/rice"), load_teacher("teachers/mine")
    assert rice.hash == mine.hash and rice.mean != mine.mean
    assert rice.origin["published"]["name"] == "cifar10/Rice2020Overfitting"
    assert len(list(Path("teachers/mine_views").glob("*.array_record"))) == 4  # as many as views
    if until == "run":
        assert load_teacher("runs/fashion_teacher/teacher").origin["objective"] == "pgd_at"
        assert (Path("runs/mine") / "report.html").is_file() and not (Path("runs/mine") / "teacher_cache").exists()

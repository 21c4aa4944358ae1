"""Runs that learn from the teacher cache: what they make, that they go on where they stood, and what is refused."""

from collections import OrderedDict
import json
import re
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas import steps
from rnas.artifacts.metrics import read_rows
from rnas.cli import platform
from rnas.config.load import load_config
from rnas.data.datasets import load_dataset
from rnas.main import main
from rnas.models import build_model
from rnas.runs import run as run_module
from rnas.runs.recipes import augmentation
from rnas.runs.stage_trainers import make_loader
from rnas.runs.stages import execute, open_run
from rnas.runs.teacher_sources import finished_cache, teacher_source
from rnas.teachers import save_teacher
from rnas.training.checkpoints import Checkpoints


def metrics_of(workdir):
    return [row.to_json() for row in read_rows(workdir)]


CONFIG = """
from rnas.config.defaults import {system}


def get_config():
    config = {system}.get_config()
    data = config.data
    data.name, data.image_shape, data.held_out = "digits", (8, 8, 1), 137
    data.crop_padding, data.flip = 1, False
    data.mean, data.std = (0.305,), (0.376,)
    config.attention.size = 4
    config.adversarial.steps = 1
    for stage in (config.search, config.train):
        stage.epochs, stage.batch_size, stage.objective = 2, 260, "none"
    config.gamma = config.kl_weight = 1.0
    config.baselines = ()
    config.validation.count = config.evaluation.batch_size = 8
    config.log_every_steps = config.checkpoint_every_steps = 4
    return config
"""
STEPS = 10  # of each stage: twice 1,300 training images in batches of 260


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A configuration, its overrides, and a teacher with random weights."""
    folder = tmp_path_factory.mktemp("cached")
    for system in ("rnas_cl", "dsara"):
        (folder / f"{system}.py").write_text(CONFIG.format(system=system))
    model = build_model("wide_resnet_10_1", num_classes=10, mean=(0.305,), std=(0.376,))
    variables = dict(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    save_teacher(
        folder / "teacher", model, variables, architecture="wide_resnet_10_1", image_shape=(8, 8, 1), origin={}
    )
    overrides = [
        f"--config.data.dir={folder / 'data'}",
        f"--config.teacher.path={folder / 'teacher'}",
        "--config.teacher.cache.views=2",
    ]
    return SimpleNamespace(folder=folder, config=str(folder / "rnas_cl.py"), overrides=[*overrides, *TINY])


TINY = ["--config.space=tiny", "--config.bn_momentum=0.5"]


@pytest.fixture(autouse=True)
def _settings_of_the_tests(monkeypatch):
    monkeypatch.setattr(platform, "prepare", lambda *_: None)


@pytest.fixture(scope="module")
def finished(given):
    """A run with its cache, complete up to the trained student."""
    config = load_config(given.config, given.overrides)
    execute(config, given.folder / "run", command="rnas train", until="train")
    return SimpleNamespace(config=config, workdir=given.folder / "run")


def latest(workdir, stage):
    """{leaf: bytes} of the last checkpoint, without knowing what the state is made of."""
    folder = workdir / "checkpoints" / stage
    with Checkpoints(folder, best="score") as checkpoints:
        leaves = json.loads((folder / str(checkpoints.steps()[-1]) / "record" / "metadata").read_text())["leaves"]
        template = OrderedDict((name, jax.ShapeDtypeStruct(shape, dtype)) for name, dtype, shape in leaves)
        restored = checkpoints.restore(template)
    assert restored.step == STEPS
    return {name: np.asarray(leaf).tobytes() for name, leaf in restored.state.items()}


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.array_record")}


@pytest.mark.slow
def test_a_run_makes_its_cache_on_first_use(finished):
    made = finished.workdir / "teacher_cache"
    card = json.loads((made / "cache.json").read_text())
    teacher = json.loads((finished.workdir.parent / "teacher" / "teacher.json").read_text())
    own = {key: teacher[key] for key in ("architecture", "hash", "mean", "std")}
    assert card["teacher"] == {**own, "classes": None}
    assert card["maps"] == {"taps": [tap["name"] for tap in teacher["taps"]], "size": 4}
    assert card["augmentation"] == {"padding": 1, "flip": False, "cutout": 0} and card["seed"] == 0
    assert card["data"]["counts"] == {"train": 1300, "validation": 137, "test": 360}
    assert len(shards(made)) == 4  # two views of 1,300 images, 1,024 a file


@pytest.mark.slow
def test_a_stage_from_the_cache_goes_on_to_the_same_end(finished, tmp_path):
    """Both stages are taken back to step 8, in the middle of their second epoch."""
    workdir = tmp_path / "run"
    shutil.copytree(finished.workdir, workdir)
    record = json.loads((workdir / "run.json").read_text())
    for stage in ("search", "derive", "train"):
        del record["stages"][stage]
    (workdir / "run.json").write_text(json.dumps(record))
    for stage in ("search", "train"):
        shutil.rmtree(workdir / "checkpoints" / stage / str(STEPS))
    execute(finished.config, workdir, command="rnas train", until="train")
    for stage in ("search", "train"):
        found, expected = latest(workdir, stage), latest(finished.workdir, stage)
        assert found == expected, stage


@pytest.mark.slow
def test_a_run_and_the_command_make_the_same_cache(finished, kept):
    assert shards(finished.workdir / "teacher_cache") == shards(kept.folder)


@pytest.fixture(scope="module")
def kept(given):
    """The command that makes a cache in a folder of its own, the folder, and the sets that were read meanwhile."""
    folder = given.folder / "kept"
    command = [
        "teacher", "cache", f"--config={given.config}", f"--workdir={given.folder / 'only_cached'}", *given.overrides,
        f"--config.teacher.cache.dir={folder}",
    ]  # fmt: skip
    read = []

    def load(name, **options):
        read.append(name)
        return load_dataset(name, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "prepare", lambda *_: None)
        patch.setattr(run_module, "load_dataset", load)
        assert main(command) == 0
    return SimpleNamespace(command=command, folder=folder, read=read)


def test_the_command_makes_a_cache_once(kept, capsys):
    before = shards(kept.folder)
    assert len(before) == 4  # two views of 1,300 images, 1,024 a file
    assert kept.read == ["digits"]
    assert main(kept.command) == 0
    shown = capsys.readouterr().err
    assert "2 views of 1300 images" in shown and "complete" in shown
    assert shards(kept.folder) == before


def test_another_seed_may_not_use_it(kept, tmp_path, capsys):
    assert main([*kept.command, "--config.seed=1", f"--workdir={tmp_path / 'other'}"]) == 2
    assert not (tmp_path / "other").exists(), "found before anything is trained"
    shown = capsys.readouterr().err
    assert "seed: 0 is what it was made of, 1 is given" in shown and "teacher.cache.dir" in shown


def test_the_same_weights_behind_another_normalisation_may_not_use_it(given, kept, tmp_path):
    shutil.copytree(given.folder / "teacher", tmp_path / "teacher")
    card = json.loads((tmp_path / "teacher" / "teacher.json").read_text())
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps({**card, "mean": [0.9]}))
    other = [f"--config.teacher.path={tmp_path / 'teacher'}", f"--config.teacher.cache.dir={kept.folder}"]
    system = open_run(load_config(given.config, [*given.overrides, *other]), tmp_path / "run")
    with pytest.raises(ValueError, match=r"teacher.mean: \[0.305\] is what it was made of, \[0.9\] is given"):
        finished_cache(system)


def test_views_that_other_settings_of_jax_would_show_otherwise_are_refused(given, kept, tmp_path):
    config = load_config(given.config, [*given.overrides, f"--config.teacher.cache.dir={kept.folder}"])
    other = jax.threefry_partitionable(not jax.config.jax_threefry_partitionable)
    with other, pytest.raises(ValueError, match="sample_of_views: .* is what it was made of"):
        finished_cache(open_run(config, tmp_path))
    assert finished_cache(open_run(config, tmp_path)).missing() == []


@pytest.mark.slow
def test_cells_learn_from_it_what_they_learn_from_the_teacher(given, tmp_path):
    """Search and training of DSARA's networks, on images that are not varied: both sides see the same ones.

    At a small rate, or the attack's signs would make much of what half precision leaves out.
    """
    small = (
        "data.crop_padding=0", "search.method=darts1", "search.second_order=none", "search.cells=3",
        "search.channels=2", "train.cells=3", "train.channels=2", "train.optimizer.learning_rate=0.001",
    )  # fmt: skip
    common = [each for each in given.overrides if each not in TINY] + [f"--config.{each}" for each in small]
    logged = {}
    for views in (0, 1):
        config = load_config(f"{given.folder / 'dsara'}.py", [*common, f"--config.teacher.cache.views={views}"])
        workdir = tmp_path / str(views)
        execute(config, workdir, command="rnas train", until="train")
        logged[views] = [record for record in metrics_of(workdir) if record["split"] == "train"]
        assert json.loads((workdir / "architecture.json").read_text())["tutors"]
        assert (workdir / "teacher_cache").exists() == bool(views)
    assert {record["stage"] for record in logged[0]} == {"search", "train"}
    for live, kept in zip(logged[0], logged[1], strict=True):
        assert live["kl"] > 0 and live["attention"] > 0
        for name in ("loss", "kl", "attention"):
            assert kept[name] == pytest.approx(live[name], rel=1e-3), (live["stage"], live["step"], name)


@pytest.mark.parametrize(
    ("system", "overrides", "message"),
    [
        ("rnas_cl", ["--config.teacher.cache.views=0"], "teacher.cache.views is 0"),
        ("rnas_cl", ["--config.gamma=0", "--config.kl_weight=0"], "no stage learns from a teacher"),
        ("rnas_cl", ["--config.data.streaming=True"], "use teacher.cache.views=0 with data.streaming"),
        ("dsara", ["--config.search.objective=pgd_at", "--config.train.cutout=4"], "but search has .*train.cutout=0"),
    ],
)
def test_a_cache_that_cannot_serve_is_refused(given, tmp_path, capsys, system, overrides, message):
    config = f"--config={given.folder / system}.py"
    base = given.overrides if system == "rnas_cl" else [each for each in given.overrides if each not in TINY]
    assert main(["teacher", "cache", config, f"--workdir={tmp_path / 'run'}", *base, *overrides]) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown), shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "stage, override", [("train", "train.objective=akd2"), ("baseline_mtard", "baselines=('mtard',)")]
)
def test_a_teacher_of_attacked_images_is_refused(given, tmp_path, stage, override):
    config = load_config(given.config, [*given.overrides, f"--config.{override}"])
    with pytest.raises(ValueError, match=f"stage {stage} needs teacher outputs of adversarial images.*does not apply"):
        open_run(config, tmp_path)


def test_baselines_without_a_teacher_see_the_images_of_the_student(given, kept, tmp_path):
    config = load_config(given.config, [*given.overrides, f"--config.teacher.cache.dir={kept.folder}"])
    system = open_run(config, tmp_path)
    taught, alone = (
        teacher_source(
            system, teacher, augmentation(config, "train"), make_loader(system, "train", 260, ""), 5, student=True
        )
        for teacher in (system.teacher, None)
    )
    assert taught.augmentation == alone.augmentation == steps.Augmentation(0, False)
    for step in (3, 7):  # views 0 and 1
        seen = []
        for teaching in (taught, alone):
            lesson = jax.tree.map(lambda leaf: leaf[0, 0], teaching.loader.dispatch(step, 1).rows)
            images, said = teaching.cached_teacher.look_up(
                system.dataset.train.images, lesson, teaching.variables, step
            )
            seen.append(np.asarray(images))
        np.testing.assert_array_equal(*seen)
        assert said is None
    assert alone.apply is None and alone.variables is None
    # Its own teacher is no pupil of the cache.
    assert teacher_source(system, None, augmentation(config, "train"), None, 5, student=False).cached_teacher is None


def test_without_a_cache_nothing_is_recalled(given, tmp_path):
    config = load_config(given.config, [*given.overrides, "--config.teacher.cache.views=0"])
    system = open_run(config, tmp_path)
    teacher = system.teacher
    teaching = teacher_source(system, teacher, augmentation(config, "search"), None, 5, student=False)
    assert teaching.apply is teacher.apply and teaching.cached_teacher is None
    assert teaching.augmentation == steps.Augmentation(1, False)

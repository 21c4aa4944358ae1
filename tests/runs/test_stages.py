"""Whole runs on digits: what they leave, that they go on where they stood, and that kills change nothing."""

from collections import OrderedDict
import contextlib
import dataclasses
import importlib
import json
import os
from pathlib import Path
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats
from small_run import MINI

import rnas
from rnas.artifacts import attack as attack_file
from rnas.artifacts.layer_movement import LayerMovement
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.outcomes import Outcomes
from rnas.artifacts.scores import CorruptionScore, Score
from rnas.artifacts.search_history import read_history
from rnas.config.load import load_config
from rnas.layers.counting import count
from rnas.main import main, parse
from rnas.models.width_network import FBNet
from rnas.pages import write_report
from rnas.runs.layer_movement import layer_movement
from rnas.runs.stages import NAMES as STAGES
from rnas.runs.stages import execute, open_run
from rnas.runs.stages.train_student import train_baselines
from rnas.spaces import width_space
from rnas.training.checkpoints import Checkpoints


def metrics_of(workdir):
    return [row.to_json() for row in read_rows(workdir)]


ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "configs" / "rnas_cl" / "digits.py"
ATTACKS = {
    "fgsm": 1, "mim_20_step_0.8": 20, "pgd_20_step_0.8": 20, "pgd_20": 20, "cw_20": 20, "pgd_100": 100,
}  # fmt: skip
STEPS = 10  # of every stage of the mini run: 1,300 training images in batches of 128


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """A complete run, as small as one can be. Tests that change files work on a copy."""
    folder = tmp_path_factory.mktemp("mini")
    (folder / "mini.py").write_text(MINI)
    config = load_config(str(folder / "mini.py"), [f"--config.data.dir={folder / 'data'}"])
    execute(config, folder / "run", command="rnas run --config=mini.py", report=write_report)
    return SimpleNamespace(config=config, file=folder / "mini.py", workdir=folder / "run")


@pytest.fixture
def copy(mini, tmp_path):
    """A copy of the mini run that is to be continued from a stage on."""

    def make(stage: str) -> Path:
        workdir = tmp_path / "run"
        shutil.copytree(mini.workdir, workdir)
        record = read(workdir / "run.json")
        for later in STAGES[STAGES.index(stage) :]:
            del record["stages"][later]
        (workdir / "run.json").write_text(json.dumps(record))
        return workdir

    return make


def read(path: Path):
    return json.loads(path.read_text())


def checkpoint(workdir: Path, stage: str, which: str):
    """(step, leaves by name) of a checkpoint, without knowing what the state is made of."""
    folder = workdir / "checkpoints" / stage
    with Checkpoints(folder, best="score") as checkpoints:
        leaves = read(folder / str(checkpoints.steps()[-1]) / "record" / "metadata")["leaves"]
        template = OrderedDict((name, jax.ShapeDtypeStruct(shape, dtype)) for name, dtype, shape in leaves)
        restored = checkpoints.restore(template, which)
    return restored.step, restored.state


def assert_same_checkpoints(one: Path, other: Path) -> None:
    stages = sorted(path.name for path in (one / "checkpoints").iterdir())
    assert stages == sorted(path.name for path in (other / "checkpoints").iterdir())
    for stage in stages:
        for which in ("latest", "best"):
            (step, state), (other_step, other_state) = (checkpoint(each, stage, which) for each in (one, other))
            assert (step, list(state)) == (other_step, list(other_state))
            for name, leaf in state.items():
                assert leaf.tobytes() == other_state[name].tobytes(), f"{name} of the {which} checkpoint of {stage}"


def metrics(workdir: Path, stage: str) -> list[dict]:
    """What a stage recorded, without the time of the clock."""
    return [{**record, "time": 0} for record in metrics_of(workdir) if record["stage"] == stage]


def damage(folder: Path) -> None:
    """Flips one bit of the largest file."""
    file = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def wilson(hits: int, number: int) -> list[float]:
    found = stats.binomtest(hits, number).proportion_ci(0.95, method="wilson")
    return pytest.approx([found.low, found.high])


# -- a complete run --------------------------------------------------------------------------------------


def test_a_run_leaves_its_files(mini):
    names = {path.name for path in mini.workdir.iterdir()}
    assert names >= {
        "config.json", "run.json", "metrics.jsonl", "events", "checkpoints", "teacher", "architecture.json",
        "evaluation", "evaluation.json", "adversarial.npz", "report.html", "report",
    }  # fmt: skip
    assert not [name for name in names if "tmp" in name], "nothing is left half written"
    assert {path.name for path in (mini.workdir / "checkpoints").iterdir()} == {
        "teacher", "search", "train", "baseline_plain",
    }  # fmt: skip
    assert read(mini.workdir / "config.json") == json.loads(json.dumps(mini.config.to_dict()))
    assert "<html" in (mini.workdir / "report.html").read_text()[:200]


def test_a_finished_run_in_a_notebook(mini, capsys):
    found = rnas.run(workdir=mini.workdir)
    assert "nothing to do" in capsys.readouterr().err
    models = found.evaluation.models
    html, text = found._repr_html_(), repr(found)
    assert html.count('<th scope="row">') == len(models) and html.count("<img") == 1
    assert all(model.label in html and name in text for name, model in models.items())
    assert found.page == mini.workdir / "report.html"


def test_every_stage_is_recorded(mini):
    record = read(mini.workdir / "run.json")
    assert list(record["stages"]) == list(STAGES)
    for stage, entry in record["stages"].items():
        assert entry["status"] == "complete" and entry["starts"] == 1 and entry["seconds"] >= 0, stage
    assert record["command"] == "rnas run --config=mini.py"
    assert (record["device"], record["devices"]) == ("cpu", 4)


def test_metrics_cover_every_stage_to_its_end(mini):
    records = metrics_of(mini.workdir)
    for stage in ("teacher", "search", "train", "baseline_plain"):
        lines = [record for record in records if record["stage"] == stage and record["split"] == "train"]
        assert [line["step"] for line in lines] == [4, 8, STEPS]
        assert [line["epoch"] for line in lines] == [0.4, 0.8, 1.0]
        for line in lines:
            assert np.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 1 and line["learning_rate"] > 0
        (validated,) = [record for record in records if record["stage"] == stage and record["split"] == "validation"]
        assert validated["step"] == STEPS
        accuracies = (validated["accuracy"], validated["adversarial_accuracy"])
        assert all(32 * value == round(32 * value) for value in accuracies), "32 images validate"
        assert validated["score"] == pytest.approx(np.mean(accuracies))
    searching = [record for record in records if record["stage"] == "search" and record["split"] == "train"]
    space = width_space.get_space("tiny")
    low, high = (width_space.cost(space, each, image_shape=(8, 8, 1)) for each in (space.smallest, space.largest))
    assert all(low < record["cost"] < high for record in searching)
    assert [record["temperature"] for record in searching] == pytest.approx([5.0] * 3)
    assert all(record["kl"] > 0 and record["attention"] > 0 for record in searching)
    plain = [record for record in records if record["stage"] == "baseline_plain" and record["split"] == "train"]
    assert all(record["kl"] == record["attention"] == 0 for record in plain)


def test_architecture_is_legal_and_is_what_was_searched(mini):
    found = read(mini.workdir / "architecture.json")
    space = width_space.get_space("tiny")
    assert found["space"] == "tiny" and found["student_taps"] == list(space.taps)
    _, state = checkpoint(mini.workdir, "search", "latest")
    for b, block in enumerate(space.blocks):
        logits = state[f"architecture/widths/{b}"]
        assert np.any(logits != 0), "the architecture steps moved it"
        assert found["widths"][b] in block.options
        assert found["widths"][b] == block.options[np.argmax(logits)]
        np.testing.assert_allclose(found["width_probabilities"][b], np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)
    tutors = state["architecture/tutors"]
    assert np.any(tutors != 0) and tutors.shape == (len(space.taps), len(found["teacher_taps"]))
    assert found["tutors"] == [found["teacher_taps"][j] for j in tutors.argmax(axis=1)]
    card = read(mini.workdir / "teacher" / "teacher.json")
    assert found["teacher_taps"] == [tap["name"] for tap in card["taps"]]
    own = {key: card[key] for key in ("architecture", "hash", "mean", "std")}
    assert found["teacher"] == {**own, "classes": None}
    narrow = FBNet(space=space, num_classes=10, mean=(0.3,), std=(0.4,), widths=found["widths"])
    assert (found["params"], found["macs"]) == count(narrow, (8, 8, 1))
    # Training built exactly that network.
    _, trained = checkpoint(mini.workdir, "train", "best")
    assert sum(leaf.size for name, leaf in trained.items() if name.startswith("params/")) == found["params"]


def test_evaluation_has_its_figures(mini):
    found = read(mini.workdir / "evaluation.json")
    architecture = read(mini.workdir / "architecture.json")
    assert (found["threat_model"], found["seed"]) == ("linf", 0)
    assert found["dataset"]["counts"] == {"train": 1300, "validation": 137, "test": 360}
    assert found["versions"]["jax"] == jax.__version__
    assert found["models"].keys() == {"student", "baseline_plain", "teacher"}
    student = found["models"]["student"]
    assert all(found[name] == student[name] for name in ("clean", "curve", "epsilons", *ATTACKS))
    for name in ("student", "baseline_plain"):
        figures = found["models"][name]
        assert (figures["params"], figures["macs"]) == (architecture["params"], architecture["macs"])
    assert found["models"]["teacher"]["params"] == 77_562  # convolutions, BatchNorms and classifier added up by hand
    for figures in found["models"].values():
        rows = [figures["clean"], *figures["curve"]["points"], *(figures[name] for name in ATTACKS)]
        for row in rows:
            assert row["count"] == 16
            hits = 16 * row["accuracy"]
            assert hits == round(hits) and row["interval"] == wilson(round(hits), 16)
        for name, steps in ATTACKS.items():
            row = figures[name]
            assert (row["epsilon"], row["steps"], row["restarts"]) == (0.15, steps, 1)
            assert row["accuracy"] <= figures["clean"]["accuracy"]
        assert figures["pgd_20_step_0.8"]["step_size"] == pytest.approx(0.15 / 10)
        points = figures["curve"]["points"]
        assert [point["epsilon"] for point in points] == [0.0, 0.1, 0.2]
        curve = [point["accuracy"] for point in points]
        assert curve[0] == figures["clean"]["accuracy"] and curve == sorted(curve, reverse=True)
        assert figures["epsilons"] == {}


def test_outcomes_stand_beside_the_figures(mini):
    for name, figures in read(mini.workdir / "evaluation.json")["models"].items():
        outcomes = Outcomes.read(mini.workdir / "evaluation" / f"{name}.npz")
        assert len(outcomes.ids) == len(set(outcomes.ids)) == 16
        scores = {"clean": figures["clean"]} | {f"{attack}@0.15": figures[attack] for attack in ATTACKS}
        scores |= dict(zip(("curve@0", "curve@0.1", "curve@0.2"), figures["curve"]["points"], strict=True))
        assert {key: right.mean() for key, right in outcomes.right.items()} == {
            key: score["accuracy"] for key, score in scores.items()
        }


def test_auto_attack_adds_its_outcomes(tmp_path, monkeypatch):
    """Also where a run is continued after it, whose folder is complete then. It attacks the first images."""
    stage = importlib.import_module("rnas.runs.stages.evaluate_models")  # its function has the same name
    ids = np.array([3, 1])
    columns = {"id": ids, "label": ids, "clean_correct": ids == ids, "fooled_by": np.array(["", "apgd_ce"])}
    columns |= {name: np.zeros(2, int) for name in attack_file.COLUMNS if name != "label"}
    attack_file.write_examples(tmp_path, columns)
    summary = SimpleNamespace(
        failed=[], robust=Score.of(1, 2), version="standard", threat=SimpleNamespace(epsilon=8 / 255)
    )
    monkeypatch.setattr(stage, "assess_dataset", lambda *_, report, **__: report(tmp_path) or summary)
    config = SimpleNamespace(
        evaluation=SimpleNamespace(epsilons=("8/255",), batch_size=8, count=3, auto_attack_count=2)
    )
    run = SimpleNamespace(config=config, workdir=tmp_path, dataset=None)
    path = tmp_path / "student.npz"
    assert stage._auto_attack(run, None, path).accuracy == 0.5 and not path.exists()
    all_ids = np.array([3, 1, 2])
    Outcomes(all_ids, all_ids, {"clean": all_ids == all_ids}).write(path)
    for _ in range(2):
        stage._auto_attack(run, None, path)
        found = Outcomes.read(path).right
        assert list(found) == ["clean", "auto_attack@8/255"] and found["auto_attack@8/255"].tolist() == [True, False]


def test_a_model_is_restored_once_and_only_if_it_is_judged(tmp_path, monkeypatch):
    stage = importlib.import_module("rnas.runs.stages.evaluate_models")

    @dataclasses.dataclass
    class Scores:
        attacks: dict = dataclasses.field(default_factory=dict)
        checkpoint: str | None = None

        def write(self, path):
            path.parent.mkdir(exist_ok=True)
            path.touch()

    restored, attacked, nothing = [], [], SimpleNamespace(write=lambda path: None)

    def restore(run, name):
        restored.append(name)
        return SimpleNamespace(name=name, predict=name, checkpoint=None)

    for name, stub in {
        "evaluated_names": lambda config: ("student", "teacher"),
        "evaluated_model": restore,
        "_measure": lambda *_: (Scores(), nothing),
        "_auto_attack": lambda run, model, path: attacked.append(model.name),
        "Evaluation": lambda *_: nothing,
        "ModelScores": SimpleNamespace(read=lambda path: Scores()),
    }.items():
        monkeypatch.setattr(stage, name, stub)
    config = SimpleNamespace(
        evaluation=SimpleNamespace(count=0, auto_attack=("student",), corruptions=()),
        data=SimpleNamespace(extra=""),
        seed=0,
    )
    dataset = SimpleNamespace(test=None, fingerprint={}, class_names=())
    run = SimpleNamespace(config=config, workdir=tmp_path, dataset=dataset, evaluator=lambda predict: None)
    stage.evaluate_models(run)
    assert (restored, attacked) == (["student", "teacher"], ["student"])
    stage.evaluate_models(run)  # figures of both are kept, so AutoAttack alone is left
    assert restored[2:] == ["student"]


def test_corruptions_are_measured_where_the_command_would(tmp_path, monkeypatch):
    stage = importlib.import_module("rnas.runs.stages.evaluate_models")
    asked, score = {}, CorruptionScore(0.5, 14, 16, "computed")

    def measure(model, dataset, root, **settings):
        asked.update(settings, model=model, root=root)
        return SimpleNamespace(score=score)

    monkeypatch.setattr(stage, "measure_corruptions_of_dataset", measure)
    config = SimpleNamespace(evaluation=SimpleNamespace(count=16, batch_size=8), seed=3)
    run = SimpleNamespace(config=config, workdir=tmp_path, dataset=None)
    assert stage._corruptions(run, "model") == score
    assert (asked["root"], asked["count"], asked["seed"]) == (tmp_path / "corruptions", 16, 3)


def test_kept_images_are_adversarial(mini):
    kept = np.load(mini.workdir / "adversarial.npz")
    clean, attacked, labels = kept["images"], kept["adversarial"], kept["labels"]
    assert clean.shape == attacked.shape == (len(labels), 8, 8, 1) and clean.dtype == attacked.dtype == np.float32
    assert 0 < len(labels) == len(kept["clean_predictions"]) == len(kept["adversarial_predictions"])
    assert attacked.min() >= 0 and attacked.max() <= 1 and np.abs(attacked - clean).max() <= 0.15 + 1e-6
    np.testing.assert_allclose(clean * 255, np.rint(clean * 255), atol=1e-4)
    moved = np.any(attacked != clean, axis=(1, 2, 3))
    assert np.all(kept["clean_predictions"][moved] == labels[moved])
    assert np.all(kept["adversarial_predictions"][moved] != labels[moved])


def test_a_complete_run_does_nothing_again(mini, monkeypatch, capsys):
    def contents():
        return {path: path.read_bytes() for path in sorted(mini.workdir.rglob("*")) if path.is_file()}

    def never(*_, **__):
        raise AssertionError("a complete run reads no data")

    before = contents()
    monkeypatch.setattr("rnas.data.datasets.load_dataset", never)
    monkeypatch.setattr("rnas.data.datasets.open_builder", never)
    execute(mini.config, mini.workdir, command="rnas run again")
    assert "complete" in capsys.readouterr().err
    assert contents() == before


def test_training_a_teacher_alone_prints_what_to_do_next(mini, monkeypatch, capsys):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    data = mini.config.data.dir
    assert (
        main(["teacher", "train", f"--config={mini.file}", f"--workdir={mini.workdir}", f"--config.data.dir={data}"])
        == 0
    )
    shown, directory = capsys.readouterr().err, mini.workdir / "teacher"
    reached = read(directory / "teacher.json")["origin"]["validation"]
    assert f"{directory}: {reached['accuracy']:.1%} of the held-out images, " in shown and "PGD-2 at 0.15." in shown
    check, use = (line.removeprefix("  rnas ") for line in shown.splitlines()[-3::2])
    parsed, _ = parse(shlex.split(check))
    assert (parsed.directory, parsed.dataset, parsed.data_dir) == (str(directory), "digits", data)
    assert parsed.epsilon == "0.15" and f"--config.teacher.path={directory}" in parse(shlex.split(use))[1]


def test_status_of_the_run(mini, monkeypatch, capsys):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    assert main(["status", f"--workdir={mini.workdir}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    own = [stage for stage in STAGES if stage != "finetune"]  # which has no epochs here
    assert list(found["stages"]) == own
    assert {stage["status"] for stage in found["stages"].values()} == {"complete"}
    assert main(["status", f"--workdir={mini.workdir}"]) == 0
    assert len(re.findall(r"^  \w+ +complete(?:, \d+:\d\d)?$", capsys.readouterr().out, re.MULTILINE)) == len(own)


def test_report_can_be_written_anew(mini, copy, monkeypatch, capsys):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    workdir = copy("report")
    before = (workdir / "report.html").read_bytes()
    (workdir / "report.html").unlink()
    assert main(["report", f"--workdir={workdir}"]) == 0
    assert capsys.readouterr().out == f"{workdir / 'report.html'}\n"
    assert (workdir / "report.html").read_bytes()[:100] == before[:100]


# -- going on, and what stands in the way ----------------------------------------------------------------


def test_a_damaged_checkpoint_is_passed_over_and_made_again(mini, copy, caplog):
    workdir = copy("train")
    folder = workdir / "checkpoints" / "train"
    assert sorted(path.name for path in folder.iterdir()) == [str(STEPS), "8"]
    damage(folder / str(STEPS) / "state")
    execute(mini.config, workdir, command="rnas train", until="train")
    assert f"CHECKPOINT DAMAGED: {folder}, step {STEPS} is not used" in caplog.text
    assert (folder / f"{STEPS}.damaged").is_dir()
    shutil.rmtree(folder / f"{STEPS}.damaged")
    assert_same_checkpoints(mini.workdir, workdir)
    # What was logged after step 8 was taken back and written again, once.
    assert metrics(workdir, "train") == metrics(mini.workdir, "train")


def test_no_checkpoint_left_is_an_error(mini, copy):
    workdir = copy("train")
    for step in (8, STEPS):
        damage(workdir / "checkpoints" / "train" / str(step) / "state")
    with pytest.raises(ValueError, match="every checkpoint in .*train is damaged .*remove it to start this stage anew"):
        execute(mini.config, workdir, command="rnas train", until="train")


def forget_files(workdir: Path) -> None:
    """Makes `run.json` one of an earlier version, which recorded no checksums: what is there is taken as it is."""
    record = read(workdir / "run.json")
    for entry in record["stages"].values():
        entry.pop("files", None)
    (workdir / "run.json").write_text(json.dumps(record))


def test_a_damaged_teacher_is_an_error(mini, copy):
    workdir = copy("train")
    damage(workdir / "teacher" / "variables")
    forget_files(workdir)
    with pytest.raises(ValueError, match="every checkpoint in .*teacher/variables is damaged"):
        execute(mini.config, workdir, command="rnas train", until="train")


def test_what_a_complete_run_lacks_is_made_again_as_it_was(mini, tmp_path, capsys):
    """Figures, pictures and architecture, and the teacher, from checkpoints; an edited figure does not stand."""
    workdir = Path(shutil.copytree(mini.workdir, tmp_path / "run"))
    whole = ("evaluation.json", "architecture.json", "teacher/teacher.json", "evaluation/student.json")
    for name in ("evaluation.json", "architecture.json", "teacher/teacher.json", "adversarial.npz"):
        (workdir / name).unlink()
    figures = read(workdir / "evaluation" / "student.json")
    figures["clean"]["accuracy"] = 1.0
    (workdir / "evaluation" / "student.json").write_text(json.dumps(figures))
    execute(mini.config, workdir, command="rnas run", report=write_report)
    shown = capsys.readouterr().err
    assert all(f"of stage '{stage}'" in shown for stage in ("teacher", "derive", "evaluate"))
    for name in whole:
        assert read(workdir / name) == read(mini.workdir / name), name
    with np.load(workdir / "adversarial.npz") as found, np.load(mini.workdir / "adversarial.npz") as former:
        assert all(np.array_equal(found[name], former[name]) for name in former.files)
    assert_same_checkpoints(mini.workdir, workdir)


def test_a_damaged_best_checkpoint_of_a_complete_run_is_refused(mini, tmp_path):
    workdir = Path(shutil.copytree(mini.workdir, tmp_path / "run"))
    damage(workdir / "checkpoints" / "train" / str(STEPS) / "state")
    with pytest.raises(ValueError, match=f"of stage 'train', checkpoints/train/{STEPS}/.*add --from=train"):
        execute(mini.config, workdir, command="rnas run")
    forget_files(workdir)  # then the evaluation finds out
    (workdir / "evaluation.json").unlink()
    shutil.rmtree(workdir / "evaluation")  # figures that are kept need no checkpoint
    record = read(workdir / "run.json")
    del record["stages"]["evaluate"]
    (workdir / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"checkpoints/train: step {STEPS}, the best, of score .*, is damaged"):
        execute(mini.config, workdir, command="rnas run")


def test_an_evaluation_says_which_step_it_took_and_why(mini):
    models = read(mini.workdir / "evaluation.json")["models"]
    with Checkpoints(mini.workdir / "checkpoints" / "train", best="score") as checkpoints:
        assert checkpoints.steps() == [8, STEPS]
    (validated,) = [row for row in metrics(mini.workdir, "train") if row["split"] == "validation"]
    choice = {"stage": "train", "step": STEPS, "choice": "best", "score": validated["score"], "images": 32}
    assert models["student"]["checkpoint"] == choice and "checkpoint" not in models["teacher"]
    assert models["baseline_plain"]["checkpoint"]["stage"] == "baseline_plain"
    page = (mini.workdir / "report.html").read_text()
    assert "Checkpoints" in page and "best on 32 held-out images" in page


@pytest.mark.parametrize(("key", "value"), [("hash", "0123"), ("std", [0.5])])
def test_tutors_of_another_teacher_are_refused(mini, copy, key, value):
    workdir = copy("train")
    path = workdir / "architecture.json"
    architecture = read(path)
    architecture["teacher"][key] = value
    path.write_text(json.dumps(architecture))
    forget_files(workdir)
    with pytest.raises(ValueError, match="tutors of .*architecture.json are layers of another teacher.*this one is"):
        execute(mini.config, workdir, command="rnas train", until="train")


def test_distilling_without_tutors_is_refused(mini, copy):
    workdir = copy("train")
    path = workdir / "architecture.json"
    path.write_text(json.dumps({**read(path), "tutors": []}))
    forget_files(workdir)
    with pytest.raises(ValueError, match="the architecture has no tutors.*--config.train.gamma=0"):
        execute(mini.config, workdir, command="rnas train", until="train")


def test_evaluating_without_a_trained_student_is_refused(mini, copy):
    workdir = copy("evaluate")
    for needed in ("checkpoints/train", "evaluation"):  # figures that are kept need no checkpoint
        shutil.rmtree(workdir / needed)
    forget_files(workdir)
    with pytest.raises(ValueError, match="holds no checkpoint of stage 'train'; run that stage first"):
        execute(mini.config, workdir, command="rnas evaluate", until="evaluate")


# -- kills -----------------------------------------------------------------------------------------------

# Marks that do not coincide, so that dispatches of every length occur.
REDUCED = (
    "--config.search.epochs=3", "--config.train.epochs=4", "--config.log_every_steps=4",
    "--config.checkpoint_every_steps=6", "--config.validation.every_epochs=1", "--config.evaluation.count=60",
    "--config.evaluation.batch_size=60", "--config.evaluation.attacks=fgsm,pgd_100",
)  # fmt: skip
WIDTHS = (
    f"--config={DIGITS}", *REDUCED, "--config.teacher.architecture=wide_resnet_10_1", "--config.teacher.epochs=4",
    "--config.baselines=('plain',)",
)  # fmt: skip
CELLS = (
    f"--config={ROOT / 'configs' / 'dsara' / 'digits.py'}", *REDUCED, "--config.search.channels=2",
    "--config.search.cells=3", "--config.search.stage1_epochs=1", "--config.search.adversarial_weight=1.0",
    "--config.train.channels=4", "--config.train.cells=3",
    "--config.validation.first_epoch=0", "--config.evaluation.auto_attack=()",
)  # fmt: skip


class Command:
    """`rnas run` in a process of its own; standard error goes to a file."""

    def __init__(self, workdir: Path, *settings: str):
        self.workdir, self.log = workdir, workdir.with_suffix(".log")
        # Not the folder of the other tests: it has a limit, which this command knows nothing of.
        cache = ROOT / ".jax_cache" / "commands"
        compilation = {"CACHE_DIR": str(cache), "CACHE_MAX_SIZE": "-1"}
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        environment |= {f"JAX_COMPILATION_{name}": value for name, value in compilation.items()}
        with open(self.log, "ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rnas.main", "run", f"--workdir={workdir}", *settings],
                cwd=ROOT, env=environment, stdout=stream, stderr=stream,
            )  # fmt: skip

    def wait(self) -> int:
        return self.process.wait(timeout=1200)

    def reaches(self, stage: str, step: int) -> None:
        """Returns once the stage is running and has recorded `step`; 0 stands for its very beginning."""
        deadline = time.monotonic() + 1200
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, KeyError):
                running = read(self.workdir / "run.json")["stages"][record_of(stage)]["status"] == "running"
                steps = [line["step"] for line in metrics_of(self.workdir) if line["stage"] == stage]
                if running and max(steps, default=0) >= step:
                    return
            time.sleep(0.02)
        raise AssertionError(f"{stage} did not reach step {step}: {self.log.read_text()}")

    def stop(self, stage: str, step: int, delay: float, number: int) -> int:
        """Sends a signal `delay` seconds after `step` of `stage`, which must still be running then."""
        self.reaches(stage, step)
        time.sleep(delay)
        self.process.send_signal(number)
        code = self.wait()
        entry = read(self.workdir / "run.json")["stages"][record_of(stage)]
        assert entry["status"] == "running", f"{stage} was over before the signal came"
        return code


def record_of(stage: str) -> str:
    """The stage of `run.json` to which a stage of `metrics.jsonl` belongs."""
    return "baselines" if stage.startswith("baseline_") else stage


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path):
    """Killed outright in teacher, search and training, and asked to stop in a baseline: every bit is the same."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    settings = (*WIDTHS, f"--config.data.dir={tmp_path / 'data'}")
    command = Command(undisturbed, *settings)
    assert command.wait() == 0, command.log.read_text()

    chance = random.Random(0)
    for stage in ("teacher", "search", "train"):
        step, delay = chance.randrange(0, 40), chance.uniform(0, 0.3)
        assert Command(disturbed, *settings).stop(stage, step, delay, signal.SIGKILL) == -signal.SIGKILL
    command = Command(disturbed, *settings)
    assert command.stop("baseline_plain", 8, chance.uniform(0, 0.3), signal.SIGTERM) == os.EX_TEMPFAIL
    shown = command.log.read_text()
    assert "SIGTERM: saving, then stopping." in shown
    assert "stage 'baseline_plain' was interrupted and saved at step " in shown
    assert shown.splitlines()[-2].endswith("To go on:")
    assert f" -m rnas.main run --workdir={disturbed} --config={DIGITS} " in shown.splitlines()[-1]
    assert Command(disturbed, *settings).wait() == 0

    stages = read(disturbed / "run.json")["stages"]
    assert [stages[stage]["starts"] for stage in ("teacher", "search", "train", "baselines")] == [2, 2, 2, 2]
    assert_same_checkpoints(undisturbed, disturbed)
    for name in ("evaluation.json", "architecture.json", "teacher/teacher.json"):
        assert read(undisturbed / name) == read(disturbed / name), name
    with np.load(undisturbed / "adversarial.npz") as one, np.load(disturbed / "adversarial.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    for stage in ("teacher", "search", "train", "baseline_plain"):
        assert metrics(undisturbed, stage) == metrics(disturbed, stage)


@pytest.mark.slow
def test_a_search_over_cells_killed_in_either_stage_and_where_they_meet_ends_as_an_undisturbed_one(tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    settings = (*CELLS, f"--config.data.dir={tmp_path / 'data'}")
    command = Command(undisturbed, *settings)
    assert command.wait() == 0, command.log.read_text()

    chance = random.Random(1)
    steps_per_epoch = 20  # half of the 1,300 training images in batches of 32; the first epoch is the first stage
    for step in (4, steps_per_epoch, 32):
        delay = chance.uniform(0, 0.2)
        assert Command(disturbed, *settings).stop("search", step, delay, signal.SIGKILL) == -signal.SIGKILL
    command = Command(disturbed, *settings)
    assert command.wait() == 0, command.log.read_text()

    assert read(disturbed / "run.json")["stages"]["search"]["starts"] == 4
    assert_same_checkpoints(undisturbed, disturbed)
    for name in ("evaluation.json", "architecture.json"):
        assert read(undisturbed / name) == read(disturbed / name), name
    for stage in ("search", "train"):
        assert metrics(undisturbed, stage) == metrics(disturbed, stage)
    gamma = {line["step"]: line["gamma"] for line in metrics_of(undisturbed) if "gamma" in line}
    assert not any(gamma[step] for step in gamma if step <= steps_per_epoch) and gamma[60] > 0, "there were two stages"


def trained_by(method: str, *further: str) -> tuple[str, ...]:
    """Training and fine-tuning by one method alone."""
    return f"train.objective={method}", f"finetune.objective={method}", *further


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        pytest.param("finetune", trained_by("akd2"), id="akd2"),
        # Killed after the first epoch of their own.
        pytest.param("train", trained_by("iad_1", "adversarial.iad_1.first_epoch=1"), id="iad_1"),
        pytest.param("finetune", trained_by("iad_2", "adversarial.iad_2.first_epoch=1"), id="iad_2"),
        pytest.param("train", trained_by("mtard"), id="mtard"),
        pytest.param("finetune", trained_by("pgd_at", "train.perturbation.gamma=0.01"), id="pgd_at_awp"),
        pytest.param(
            "train",
            trained_by("trades", "train.perturbation.gamma=0.005", "train.perturbation.first_epoch=1"),
            id="trades_awp",
        ),
        pytest.param("train", trained_by("none", "train.weight_average=0.9"), id="average"),
    ],
)
def test_a_method_killed_in_the_middle_ends_as_undisturbed(mini, copy, tmp_path, stage, settings):
    """From the searched network on: trained, fine-tuned and evaluated, with SIGKILL half way through one of the two."""
    disturbed = copy("train")
    shutil.rmtree(disturbed / "evaluation")
    for old in ("train", "baseline_plain"):
        shutil.rmtree(disturbed / "checkpoints" / old)
    (disturbed / "config.json").unlink()
    undisturbed = Path(shutil.copytree(disturbed, tmp_path / "undisturbed"))
    given = [f"teacher.path={mini.workdir / 'teacher'}", f"teacher.natural_path={mini.workdir / 'teacher'}"]
    lengths = ["train.epochs=6", "finetune.epochs=6", "checkpoint_every_steps=6"]
    alone = ["train.gamma=0.0", "train.kl_weight=0.0", "baselines=()"]
    overrides = [f"--config.{each}" for each in (*given, *lengths, *alone, *settings)]
    arguments = (f"--config={mini.file}", f"--config.data.dir={mini.config.data.dir}", *overrides)
    command = Command(undisturbed, *arguments)
    assert command.wait() == 0, command.log.read_text()
    assert Command(disturbed, *arguments).stop(stage, 24, 0.0, signal.SIGKILL) == -signal.SIGKILL
    command = Command(disturbed, *arguments)
    assert command.wait() == 0, command.log.read_text()

    assert read(disturbed / "run.json")["stages"][stage]["starts"] == 2
    assert_same_checkpoints(undisturbed, disturbed)
    assert read(undisturbed / "evaluation.json") == read(disturbed / "evaluation.json")
    for each in ("train", "finetune"):
        assert metrics(undisturbed, each) == metrics(disturbed, each)
        assert metrics(undisturbed, each)[-1]["step"] == 60


@pytest.mark.slow
def test_tutors_that_withstand_attack_are_searched_for_the_found_network(mini, copy):
    """A baseline with tutors of its own: widths stay, the search is recorded, and the penalty pulls on the tutors."""
    workdir = copy("baselines")
    config = mini.config.copy_and_resolve_references()
    config.baselines = ("attention_only+none+tutors_robust",)
    config.baseline_selector.robustness = 100.0  # then nothing but the penalty counts
    run = open_run(config.lock(), workdir)
    train_baselines(run)
    movement, robust = LayerMovement.read(workdir / "layer_movement.json"), run.baseline_architecture(*config.baselines)
    assert movement.taps == run.teacher.tap_names and all(0 <= moved <= 2 for moved in movement.movement)
    assert len(set(movement.movement)) > 1 and robust.widths == run.architecture.widths
    history = read_history(workdir, "search_tutors_robust")
    assert list(history.epochs) == [0, 1] and not history.widths
    np.testing.assert_allclose(history.tutors.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(history.tutors[-1], robust.tutor_assignment.probabilities, rtol=1e-5)
    moved = dict(zip(movement.taps, movement.movement, strict=True))
    assert np.mean([moved[tutor] for tutor in robust.tutor_assignment.tutors]) < np.mean(movement.movement)

    np.testing.assert_array_equal(layer_movement(run), movement.movement)  # read, not measured again
    other = config.copy_and_resolve_references()
    other.adversarial.epsilon = "0.3"
    with pytest.raises(ValueError, match="measured on another teacher, on other images or at another radius; delete"):
        layer_movement(open_run(other.lock(), workdir))

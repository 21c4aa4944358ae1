"""`rnas attack` on a run and on a teacher: what it prints and leaves, its exit codes, and what it refuses."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained_run import write_untrained_run

from rnas.artifacts.attack import AttackSummary
from rnas.cli.attack import as_text
from rnas.config.load import load_config, recorded_config
from rnas.data.datasets import load_dataset
from rnas.evaluation import assessment
from rnas.evaluation.runner import Runner
from rnas.main import main
from rnas.models import build_model
from rnas.runs.stages import open_run
from rnas.runs.trained_models import evaluated_model
from rnas.teachers import load_teacher, save_teacher
from rnas.training.interruption import Interrupted

pytestmark = pytest.mark.usefixtures("quick_attacks")
MINI = """
from rnas.config.defaults import rnas_cl

def get_config():
    config = rnas_cl.get_config()
    data = config.data
    data.name, data.image_shape, data.held_out, data.crop_padding = "digits", (8, 8, 1), 137, 1
    data.mean, data.std = (0.305,), (0.376,)
    config.space = "tiny"
    config.baselines = ("plain",)
    return config
"""
COUNT = 30
NAME = f"student_fgsm_linf_0.05_first{COUNT}"
QUICK = ("--attack=fgsm", f"--count={COUNT}", "--batch-size=16", "--epsilon=0.05")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def bare(tmp_path_factory, data) -> Path:
    """A work directory with an untrained student. Tests that write into one work on a copy."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "mini.py").write_text(MINI)
    config = load_config(str(folder / "mini.py"), [f"--config.data.dir={data}"])
    return write_untrained_run(folder / "run", config)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, data) -> Path:
    """An untrained teacher whose card names its data."""
    path = tmp_path_factory.mktemp("ten") / "teacher"
    model = build_model("wide_resnet_10_1", num_classes=10, mean=(0.3,), std=(0.4,))
    variables = dict(model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    dataset = load_dataset("digits", data_dir=data, held_out=0, seed=0)
    origin = {"dataset": dataset.fingerprint}
    save_teacher(path, model, variables, architecture="wide_resnet_10_1", image_shape=(8, 8, 1), origin=origin)
    return path


def run(*argv: str) -> SimpleNamespace:
    """One command: its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["attack", *map(str, argv)])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture(scope="module")
def attacked(bare, tmp_path_factory):
    """The work directory of a student that was attacked, which tests must not change, and what was printed."""
    workdir = tmp_path_factory.mktemp("attacked") / "run"
    shutil.copytree(bare, workdir)
    done = run(f"--workdir={workdir}", "--json", *QUICK)
    return SimpleNamespace(workdir=workdir, folder=workdir / "attacks" / NAME, **vars(done))


@pytest.fixture
def refused():
    """Runs a command that must fail with one message on standard error, which it returns."""

    def refuse(*argv):
        done = run(*argv)
        assert done.code == 2 and done.out == ""
        assert done.err.startswith("rnas: ") and "Traceback" not in done.err
        return done.err

    return refuse


def read(folder: Path) -> dict:
    return json.loads((folder / "attack.json").read_text())


# -- a run -----------------------------------------------------------------------------------------------


def test_json_is_one_object_and_nothing_else(attacked):
    assert attacked.code == 0, attacked.err
    assert attacked.out.count("\n") == 1
    assert attacked.err.splitlines()[-1] == f"page: {attacked.folder / 'report.html'}"
    summary = json.loads(attacked.out)
    assert summary == read(attacked.folder)
    assert [path.name for path in (attacked.workdir / "attacks").iterdir()] == [NAME]
    assert summary["model"]["name"] == "student" and summary["model"]["source"] == str(attacked.workdir)
    assert summary["dataset"]["name"] == "digits" and summary["dataset"]["count"] == COUNT
    assert summary["threat"] == {"norm": "linf", "epsilon": 0.05, "epsilon_text": "0.05"}
    assert {check["status"] for check in summary["checks"]} <= {"passed", "warning", "skipped"}


def test_figures_are_those_of_the_student(attacked, data):
    experiment = open_run(recorded_config(attacked.workdir), attacked.workdir)
    model, test = evaluated_model(experiment, "student"), experiment.dataset.test
    images = test.images[:COUNT].astype(np.float32) / np.float32(255)
    predict = jax.jit(lambda images: model.predict(model.variables, images).argmax(1))
    right = predict(images) == test.labels[:COUNT]
    summary = read(attacked.folder)
    assert summary["clean"]["accuracy"] == right.mean() and 0 < right.sum() < COUNT
    with np.load(attacked.folder / "adversarial.npz") as stored:
        rows, fooling = stored["row"], stored["images"]
    images[rows] = fooling
    assert (predict(images)[rows] != test.labels[rows]).all()
    assert summary["robust"]["accuracy"] == (right.sum() - len(rows)) / COUNT


def test_text_has_a_line_for_each_figure_and_check(attacked, monkeypatch):
    monkeypatch.setattr(Runner, "run_batch", None)  # it is finished: nothing is run
    done = run(f"--workdir={attacked.workdir}", *QUICK)
    summary, lines = read(attacked.folder), done.out.splitlines()
    assert done.code == 0 and lines[0].startswith(f"student, digits test, {COUNT} images, linf 0.05, fgsm")
    figures = {line.split()[0]: line for line in lines[1:]}
    for name, row in (("clean", summary["clean"]), ("worst", summary["robust"])):
        low, high = row["interval"]
        assert f"{row['accuracy']:.2%}  ({low:.1%} to {high:.1%})" in figures[name]
    assert f"fooled {summary['attacks'][0]['fooled']} of" in figures["fgsm"]
    for check in summary["checks"]:
        assert check["status"] in figures[check["letter"]]
        assert check["advice"] in done.out
    assert summary["caveat"] in lines[-1]


def test_a_check_that_was_skipped_is_no_check_that_passed(attacked):
    summary = AttackSummary.read(attacked.folder / "attack.json")
    assert "skipped" not in as_text(summary)
    first, second, *rest = summary.checks
    skipped = tuple(dataclasses.replace(check, status="skipped") for check in (first, second))
    text = as_text(dataclasses.replace(summary, checks=(*skipped, *rest)))
    assert f"skipped, so that nothing is known of it: {first.letter}, {second.letter}" in text


def test_the_report_of_the_run_shows_the_attack(attacked):
    page, own = (path.read_text() for path in (attacked.workdir / "report.html", attacked.folder / "report.html"))
    accuracy = f"{100 * read(attacked.folder)['robust']['accuracy']:.1f}"
    for text in (page, own):
        assert "fgsm" in text.lower() and accuracy in text
    assert "Attack suite" in page


def test_a_failed_check_is_an_exit_code(attacked, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(attacked.workdir, workdir)
    summary = read(workdir / "attacks" / NAME)
    summary["checks"][0] |= {"status": "failed", "advice": "Do not."}
    (workdir / "attacks" / NAME / "attack.json").write_text(json.dumps(summary))
    done = run(f"--workdir={workdir}", "--json", *QUICK)
    assert done.code == 3 and json.loads(done.out) == summary
    assert "sanity checks A failed: these figures should not be published" in done.err
    done = run(f"--workdir={workdir}", "--json", "--tolerate-failed-checks", *QUICK)
    assert done.code == 0 and json.loads(done.out) == summary


def test_another_evaluation_needs_another_folder(attacked, refused):
    argv = [f"--workdir={attacked.workdir}", *QUICK, f"--output={attacked.folder}"]
    assert "seed: 0 there, 5 now" in refused(*argv, "--seed=5")
    assert "epsilon: 0.05 there, 0.1 now" in refused(*argv, "--epsilon=0.1")


def test_folders_say_what_was_done(attacked, monkeypatch):
    seen = []

    def assess(*arguments):
        seen.append(arguments[-1].relative_to(attacked.workdir / "attacks").as_posix())
        return AttackSummary.read(attacked.folder / "attack.json")

    monkeypatch.setattr(assessment, "assess", assess)
    for page in ("write_attack_page", "write_report"):
        monkeypatch.setattr(f"rnas.pages.{page}", lambda folder: None)
    for argv, name in (
        ((), "student_auto_attack_linf_8-255"),
        (("--version=plus", "--norm=l2", "--epsilon=0.5", "--seed=3"), "student_auto_attack_l2_0.5_plus_seed3"),
        (("--attack=pgd_20*5,square", "--split=validation"), "student_pgd_20-5-square_linf_8-255_validation"),
        (
            ("--count=7", "--individually", "--transfer=x"),
            "student_auto_attack_linf_8-255_first7_individually_transfer",
        ),
        (("--count=100000",), "student_auto_attack_linf_8-255"),
    ):
        assert run(f"--workdir={attacked.workdir}", *argv).code == 0
        assert seen.pop() == name


def test_a_data_folder_is_that_of_the_data_of_the_run(attacked, refused, monkeypatch):
    folders = []

    def load(name, *, data_dir, **_):
        folders.append((name, data_dir))
        raise ValueError("enough")

    monkeypatch.setattr("rnas.runs.run.load_dataset", load)
    assert "enough" in refused(f"--workdir={attacked.workdir}", "--data-dir=elsewhere")
    assert folders == [("digits", "elsewhere")]


# -- a teacher, and images of another model --------------------------------------------------------------


def test_a_teacher_and_images_that_fool_the_student(attacked, teacher, data, tmp_path):
    argv = [f"--teacher={teacher}", f"--data-dir={data}", f"--output={tmp_path / 'out'}", "--json", *QUICK]
    done = run(*argv, f"--transfer={attacked.folder}")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["model"]["name"] == "teacher" and summary["model"]["architecture"] == "wide_resnet_10_1"
    assert summary["model"]["params"] == 77_562  # convolutions, BatchNorms and classifier added up by hand
    loaded, test = load_teacher(teacher), load_dataset("digits", data_dir=data, held_out=0, seed=0).test
    images, labels = test.images[:COUNT].astype(np.float32) / np.float32(255), test.labels[:COUNT]

    predict = jax.jit(lambda images: loaded.apply(loaded.variables, images)[0].argmax(1))

    def accuracy(images):
        return np.mean(np.asarray(predict(images)) == labels)

    assert summary["clean"]["accuracy"] == accuracy(images)
    with np.load(attacked.folder / "adversarial.npz") as stored:
        images[stored["row"]] = stored["images"]
    (transferred,) = summary["transfer"]
    assert transferred["model"] == "Student" and transferred["accuracy"] == accuracy(images)


def test_images_of_other_data_or_a_larger_ball_are_refused(attacked, teacher, data, refused, tmp_path):
    argv = [f"--teacher={teacher}", f"--data-dir={data}", f"--output={tmp_path / 'out'}", *QUICK]
    argv += [f"--transfer={attacked.folder}"]
    assert "attacked other images (digits, 30 of them)" in refused(*argv, "--count=29")
    assert "epsilon 0.05, which is more than this threat allows (linf, 0.04)" in refused(*argv, "--epsilon=0.04")
    assert "no finished attack at" in refused(*argv, f"--transfer={tmp_path}")
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_unknown_data_needs_a_name(teacher, data, refused, tmp_path):
    path = tmp_path / "teacher"
    shutil.copytree(teacher, path)
    card = json.loads((path / "teacher.json").read_text())
    (path / "teacher.json").write_text(json.dumps({**card, "origin": {}}))
    message = refused(f"--teacher={path}", f"--data-dir={data}")
    assert "does not name the data it was trained on; give --dataset." in message
    card["num_classes"] = 10
    (path / "teacher.json").write_text(json.dumps({**card, "image_shape": [16, 16, 1]}))
    message = refused(f"--teacher={path}", f"--data-dir={data}", "--dataset=digits")
    assert "takes images of (16, 16, 1) and has 10 classes; 'digits' has images of (8, 8, 1)" in message


# -- common corruptions ----------------------------------------------------------------------------------


def test_corruptions_stand_in_a_folder_of_their_own_and_in_the_report(attacked, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(attacked.workdir, workdir)
    argv = [f"--workdir={workdir}", "--corruptions", "--count=16", "--batch-size=16"]
    done = run(*argv, "--json")
    assert done.code == 0, done.err
    folder = workdir / "corruptions" / "student_first16"
    assert done.err.splitlines()[-1] == f"page: {folder / 'report.html'}"
    summary = json.loads(done.out)
    assert summary == json.loads((folder / "corruptions.json").read_text())
    assert summary["source"] == "computed" and len(summary["rows"]) == 18  # grey: saturation has nothing to change
    assert {score["count"] for row in summary["rows"] for score in row["severities"]} == {16}
    page = (workdir / "report.html").read_text()
    assert "Common corruptions" in page and "Frost is ours." in page
    lines = run(*argv).out.splitlines()  # it is finished
    (fog,) = (row for row in summary["rows"] if row["name"] == "fog")
    assert next(line for line in lines if " fog " in line).split()[2:] == [
        f"{100 * score['accuracy']:.1f}%" for score in fog["severities"]
    ]
    assert any(f"{summary['mean']:.2%}  over 14 published types and 5 severities" in line for line in lines)
    assert "frost_procedural" in lines[-1] and f"{summary['mean_with_ours']:.2%}" in lines[-1]


def test_corruptions_are_no_attack(bare, data, refused):
    message = refused(f"--workdir={bare}", "--corruptions", "--epsilon=0.1", "--norm=l2", "--transfer=x")
    assert "--corruptions is no attack: give it without --norm, --epsilon, --transfer." in message
    message = refused(f"--workdir={bare}", "--corruptions=digits_corrupted", f"--data-dir={data}")
    assert "unknown dataset 'digits_corrupted/gaussian_noise_1'" in message


# -- mistakes --------------------------------------------------------------------------------------------


def test_exactly_one_model_must_be_named(bare, teacher, refused):
    assert "name one model: --workdir=RUN (and --model=NAME), or --teacher=DIR." in refused()
    assert "name one model" in refused(f"--workdir={bare}", f"--teacher={teacher}")
    assert "name one model" in refused("--workdir=")
    assert "name one model" in refused(f"--workdir={bare}", "--torch=model.py:load")
    assert "--torch needs --dataset=NAME" in refused("--torch=model.py:load")


def test_a_model_of_pytorch_needs_pytorch(data, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("--torch=model.py:load", "--dataset=digits", f"--data-dir={data}")
    assert "needs torch, which is not installed: pip install 'rnas[torch]'" in message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model=studnet"], "this run has no model 'studnet'; it has student, baseline_plain, teacher."),
        (["--model=baseline_plain"], "holds no checkpoint of stage 'baseline_plain'; run that stage first"),
        (["--model=teacher"], "no teacher at "),
        (["--attack=apgd_ce,sqare"], "unknown attack 'sqare'; expected one of fgsm, pgd_<steps>,"),
        (["--attack=pgd_20", "--norm=l1", "--epsilon=12"], "dense gradient steps are far too weak; use apgd_ce"),
        (["--attack=fgsm*3"], "fgsm*3: fgsm takes no restarts."),
        (["--version=rand"], "version 'rand' is for models that draw random numbers"),
        (["--epsilon=8"], "epsilon=8 exceeds the range of pixels, [0, 1]; is '8/255' meant?"),
        (["--epsilon=8/O"], "8/O"),
        (["--epsilon="], "cannot read ''"),
        (["--norm=l2"], "--norm=l2 needs a radius of its own: give --epsilon, on CIFAR-10 usually 0.5."),
        (["--norm=l1"], "usually 12."),
        (["--batch-size=0"], "batch_size must be a whole number of at least 1, got 0"),
        (["--seed=-1"], "seed must be a whole number from 0 to 4294967295, got -1"),
        ([f"--seed={2**32}"], "seed must be a whole number from 0 to 4294967295, got 4294967296"),
        ([f"--seed={2**70}"], "seed must be a whole number from 0"),
        (["--attack=fgsm,fgsm"], "attack 'fgsm' is named twice; name it once"),
        (["--epsilon=-1/255"], "-1/255"),
        (["--dataset=cifr10"], "unknown dataset 'cifr10'; did you mean "),
        (["--count=0"], "count must be a whole number of at least 1, got 0"),
        (["--count=-3"], "count must be a whole number of at least 1, got -3"),
        (["--dataset=digits", "--split=validation"], "the validation split of digits is empty; attack another."),
    ],
)
def test_what_cannot_be_attacked_is_refused(bare, data, refused, argv, message):
    assert message in refused(f"--workdir={bare}", f"--data-dir={data}", *argv)
    assert not (bare / "attacks").exists()


def test_what_is_no_run_is_refused(bare, refused, tmp_path):
    assert f"no teacher at {tmp_path}: expected a directory that holds" in refused(f"--teacher={tmp_path}")
    assert f"{tmp_path} holds no config.json: it is no work directory of a run." in refused(f"--workdir={tmp_path}")
    workdir = tmp_path / "foreign"
    shutil.copytree(bare, workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["search"]["news"] = 1
    (workdir / "config.json").write_text(json.dumps(config))
    message = refused(f"--workdir={workdir}")
    assert "config.json was written by another version: this one has no search.news." in message
    (workdir / "config.json").write_text("{")
    assert "config.json is not readable as JSON" in refused(f"--workdir={workdir}")
    shutil.copy(bare / "config.json", workdir)
    shutil.rmtree(workdir / "checkpoints")
    assert "holds no checkpoint of stage 'train'; run that stage first" in refused(f"--workdir={workdir}")


def test_a_norm_or_a_version_that_does_not_exist_is_refused(bare, capsys):
    for wrong in ("--norm=linfty", "--version=pro"):
        with pytest.raises(SystemExit) as leaving:
            main(["attack", f"--workdir={bare}", wrong])
        assert leaving.value.code == 2 and "invalid choice" in capsys.readouterr().err


def test_interruption_says_how_to_go_on(bare, monkeypatch):
    def interrupted(*_, **__):
        raise Interrupted("SIGINT: stopped; everything finished so far is kept.")

    monkeypatch.setattr("rnas.evaluation.assess_dataset", interrupted)
    done = run(f"--workdir={bare}", "--attack=fgsm")
    assert done.code == 130 and done.out == ""
    assert done.err.endswith(f"is kept. To go on:\n  rnas attack --workdir={bare} --attack=fgsm\n")

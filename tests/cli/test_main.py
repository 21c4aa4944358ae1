"""The command line: what it starts, and the one clear line a mistake is answered with."""

import importlib
import inspect
import itertools
import json
import os
from pathlib import Path
import re
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rnas import __version__
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.run_record import RunRecord, StageRecord, versions
from rnas.cli import platform
from rnas.config.load import load_config, record_config
from rnas.main import VERBS, main, parse
from rnas.models import build_model
from rnas.runs import stages, training_cost
from rnas.teachers import save_teacher
from rnas.training.interruption import Interrupted

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "configs" / "rnas_cl" / "digits.py"
CIFAR10 = ROOT / "configs" / "rnas_cl" / "cifar10.py"
SMALL = ("--config.teacher.architecture=wide_resnet_10_1", "--config.teacher.batch_size=64")


@pytest.fixture(autouse=True)
def _settings_of_the_tests(request, monkeypatch):
    if "prepare" not in request.fixturenames:
        monkeypatch.setattr(platform, "prepare", lambda *_: None)
        monkeypatch.setattr(training_cost, "speeds", lambda run: {"student": 1e9, "teacher": 1e9})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data directory of its own; the user's is left alone."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def refused(tmp_path, data, capsys):
    """Runs a command that must fail with one message on standard error, which it returns."""

    def run(command, *overrides, config=DIGITS, workdir=tmp_path / "run"):
        argv = [*command.split(), f"--config={config}", f"--workdir={workdir}", f"--config.data.dir={data}", *overrides]
        assert main(argv) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and "Traceback" not in shown.err
        before, mistake = re.fullmatch(r"(?s)(.*?)^(rnas: .*)", shown.err, re.MULTILINE).groups()
        assert not before or before.startswith(f"{workdir}: "), "nothing but a plan stands before it"
        return mistake

    return run


# -- what is started -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "until"),
    [
        ("run", "report"),
        ("search", "derive"),
        ("train", "finetune"),
        ("evaluate", "evaluate"),
        ("teacher train", "teacher"),
    ],
)
def test_commands_run_up_to_their_stage(monkeypatch, command, until):
    started = []
    monkeypatch.setattr(stages, "execute", lambda config, workdir, **rest: started.append((config, workdir, rest)))
    argv = [*command.split(), f"--config={CIFAR10}:s7", "--config.seed=3", "--config.evaluation.count=7"]
    assert main(argv) == 0
    ((config, workdir, rest),) = started
    assert (config.space, config.seed, config.evaluation.count) == ("s7", 3, 7)
    assert workdir == Path("runs/rnas_cl/cifar10_s7")
    assert callable(rest.pop("report", print)) and callable(rest.pop("announce", print))
    assert rest.pop("anew", None) is None
    assert rest == {"command": " ".join(["rnas", *argv]), "until": until}


def test_recorded_command_can_be_typed_again(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(stages, "execute", lambda *_, command, **__: started.append(command))
    main(["run", f"--config={DIGITS}", f"--workdir={tmp_path / 'two words'}"])
    assert started[0].endswith(f"'--workdir={tmp_path / 'two words'}'")


def test_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise Interrupted("stage 'train' was interrupted and saved at step 7.")

    monkeypatch.setattr(stages, "execute", interrupted)
    assert main(["run", f"--config={DIGITS}"]) == 130
    line = f"stage 'train' was interrupted and saved at step 7. To go on:\n  rnas run --config={DIGITS}\n"
    assert capsys.readouterr().err == line


def test_a_run_goes_on_from_what_its_directory_recorded(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(stages, "execute", lambda config, workdir, **_: started.append((config, workdir)))
    record_config(tmp_path, load_config(str(DIGITS), ["--config.seed=3", "--config.evaluation.epsilons=('0.2',)"]))
    assert main(["run", f"--workdir={tmp_path}"]) == 0
    assert main(["evaluate", f"--workdir={tmp_path}", "--config.study.seeds=(4,)"]) == 0
    (config, workdir), (changed, _) = started
    assert workdir == tmp_path and (config.seed, config.evaluation.epsilons) == (3, ("0.2",))
    assert changed.study.seeds == (4,) and changed.seed == 3


def test_a_study_and_a_run_are_told_apart(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(stages, "execute", lambda *_, **__: pytest.fail("begun"))
    config = load_config(str(DIGITS), [])
    record_config(tmp_path / "study", config)
    record_config(tmp_path / "study" / "seed_0", config)
    assert main(["run", f"--workdir={tmp_path / 'study'}"]) == 2
    assert f"{tmp_path / 'study'} holds a study: go on by rnas study --workdir=" in capsys.readouterr().err
    begun(tmp_path / "run", "teacher")
    record_config(tmp_path / "run", config)
    assert main(["study", f"--workdir={tmp_path / 'run'}"]) == 2
    assert f"{tmp_path / 'run'} holds one run, not a study" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "study", "describe", "teacher train", "tabular train"])
def test_without_configuration_and_directory_nothing_is_begun(capsys, tmp_path, command):
    assert main(command.split()) == 2
    assert capsys.readouterr().err == "rnas: give --config=FILE, or --workdir=DIR to go on with what was begun there.\n"
    assert main([*command.split(), f"--workdir={tmp_path}"]) == 2
    assert f"{tmp_path} holds no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "describe", "study", "teacher train", "tabular train"])
def test_a_configuration_of_another_command_names_that(capsys, command):
    table = command.startswith("tabular")
    config = DIGITS if table else ROOT / "configs" / "robbench" / "digits.py"
    assert main([*command.split(), f"--config={config}"]) == 2
    shown = capsys.readouterr().err
    assert str(config) in shown and ("a run: rnas run" if table else "a table of networks: rnas tabular train") in shown


def test_home_stands_after_an_equals_sign_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments, overrides = parse(["run", "--config=~/a.py:s7", "--workdir=~/runs/~x", "--config.data.dir=~"])
    assert (arguments.config, arguments.workdir) == (f"{tmp_path}/a.py:s7", f"{tmp_path}/runs/~x")
    assert overrides == [f"--config.data.dir={tmp_path}"]


def test_version(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0 and capsys.readouterr().out == f"rnas {__version__}\n"


def test_a_page_that_is_not_there_is_not_named(capsys, tmp_path):
    """Of a run whose stages are complete up to one before `report`."""
    begun(tmp_path, "teacher", "search", "derive")
    assert main(["search", f"--config={DIGITS}", f"--workdir={tmp_path}"]) == 0
    shown = capsys.readouterr().err
    assert "the run is complete up to 'derive'; nothing to do." in shown and "eport" not in shown


def test_report_of_no_run_is_refused(tmp_path, capsys):
    assert main(["report", f"--workdir={tmp_path}"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and str(tmp_path) in shown.err and shown.err.startswith("rnas: ")


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    for name in ("run", "search", "train", "evaluate", "report", "teacher", "describe", "status"):
        assert f"\n    {name} " in shown


def test_help_answers_without_loading_jax():
    program = """
import contextlib, io, sys
from rnas.main import main
shown = io.StringIO()
for argv in ([], *([verb] for verb in ("run", "search", "attack", "describe", "status", "report", "tabular"))):
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([*argv, "--help"])
assert shown.getvalue().count("usage: rnas") == 8
sys.exit(2 * ("jax" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_its_module():
    for verb, (module, _) in VERBS.items():
        module = importlib.import_module(f"rnas.cli.{module}")
        assert list(inspect.signature(module.add_arguments).parameters) == ["parser"], verb
        assert list(inspect.signature(module.run).parameters) == ["arguments", "overrides"], verb


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["serach"], "invalid choice: 'serach'"),
        (["run", "--config=a.py", "--wrokdir=x"], "unknown argument '--wrokdir=x'"),
        (["run", "--config=a.py", "seed=3"], "configuration keys are written --config.key=value"),
        (["teacher", "--config=a.py"], "action"),
        (["run", "--config=a.py", "--workdir=gs://b/runs"], "--workdir=gs://b/runs: expected a path of this machine"),
        (["run", "--config=a.py", "--config.teacher.path=s3://b/t"], "mount the bucket"),
        *(
            ([*command.split(), "--config.seed=3"], "--config.seed=3: this command takes no configuration")
            for command in (
                "status",
                "report",
                "attack",
                "ntk --dataset=digits",
                "teacher import x --output=y",
                "teacher check x --dataset=digits",
                "teacher halve x --output=y",
                "tabular rank --table=x",
                "tabular merge x --output=y",
            )
        ),
    ],
)
def test_a_command_that_cannot_be_read_is_refused(capsys, argv, message):
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


def test_traceback_is_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("RNAS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown space"):
        main(["run", f"--config={DIGITS}", f"--workdir={tmp_path}", "--config.space=s4"])


@pytest.fixture
def prepare(monkeypatch):
    """The real `platform.prepare`, whose settings are taken back afterwards."""
    names = (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_default_matmul_precision",
    )  # fmt: skip
    before = {name: getattr(jax.config, name) for name in names}
    yield platform.prepare
    for name, value in before.items():
        jax.config.update(name, value)


def test_products_are_exact_and_programs_are_kept(prepare, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: started.append(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    prepare()
    assert jax.config.jax_default_matmul_precision == "highest"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "rnas" / "xla") and not started
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    prepare(parse(["run", "--config=a.py", "--distributed"])[0])
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert started == [{"coordinator_address": None, "num_processes": None, "process_id": None}]  # JAX finds them


# -- mistakes that are found before anything runs --------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seach.epochs=3", "has no key 'seach.epochs'; the nearest is 'search.epochs'"),
        ("search.epochs=many", "--config.search.epochs=many: expected int"),
        ("space=s4", "unknown space 's4'; known spaces: tiny, s1, s3, s5, s7, m, l, imagenet."),
        ("baselines=('plane',)", "unknown baseline 'plane'; known, to be joined by '+': no_distillation, kl_only,"),
        ("adversarial.objective=tradess", "'tradess' of the objective; expected one of none, pgd_at,"),
        ("search.objective=fgsm", "'fgsm' of the objective; expected one of"),
        ("adversarial.epsilon=8/0", "8/0"),
        ("adversarial.epsilon=-1/255", "-1/255"),
        ("adversarial.attack_bn=frozen", "'frozen' of the objective; expected one of eval, train_frozen, train, own."),
        ("attention.normalise=no", "'no' of the objective; expected one of per_sample, per_batch."),
        ("budget.mode=hart", "unknown budget.mode 'hart'; expected one of none, soft, hard."),
        ("budget.mode=hard", "budget.mode='hard' needs a budget.target, in macs."),
        ("derive.init=scratch", "unknown derive.init 'scratch'; expected one of fresh, supernet."),
        ("derive.tutor=best", "unknown derive.tutor 'best'; expected one of argmax, sampled."),
        ("split=halves", "unknown split 'halves'; expected one of shared, disjoint."),
        ("dtype=float16", "unknown dtype 'float16'; expected one of float32, bfloat16."),
        ("seed=-1", "seed"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(refused, tmp_path, override, message):
    assert message in refused("run", f"--config.{override}")
    assert not (tmp_path / "run").exists(), "nothing was begun"


@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize(("kind", "target"), [("macs", 10), ("params", 10), ("macs", 1e9)])
def test_a_budget_out_of_reach_names_both_bounds(refused, mode, kind, target):
    overrides = [f"--config.budget.{key}={value}" for key, value in dict(mode=mode, kind=kind, target=target).items()]
    # Stem 9·16; blocks expand·project 1×1 and depthwise 3×3 at sixfold width; classifier. Sides 8, 8, 4, 4.
    bounds = {}
    for widths in ((16, 16, 32, 32), (12, 12, 20, 20)):
        sides = ((8, 8), (8, 8), (8, 4), (4, 4))
        macs, params = 64 * 9 * 16, 9 * 16 + 3 * 16
        for (c_in, c_out), (before, after) in zip(itertools.pairwise((16, *widths)), sides, strict=True):
            mid = 6 * c_in
            macs += before**2 * c_in * mid + after**2 * (9 * mid + mid * c_out)
            params += c_in * mid + 9 * mid + mid * c_out + 3 * (2 * mid + c_out)
        bounds[widths] = {"macs": macs + 10 * widths[-1], "params": params + 10 * widths[-1] + 10}
    high, low = (bound[kind] for bound in bounds.values())
    message = refused("run", *overrides)
    assert f"lies outside space 'tiny': its smallest network costs {low:,}, its largest {high:,}." in message


def test_a_missing_configuration_names_the_others(refused):
    message = refused("run", config=ROOT / "configs" / "rnas_cl" / "digit.py")
    assert "no configuration file" in message and str(DIGITS) in message


def test_an_unknown_variant_names_the_others(refused):
    assert "unknown variant 's4'; expected any of s3, s5, s7, m, l, paper," in refused("run", config=f"{CIFAR10}:s4")
    assert "unknown variant 'papre'; expected any of s3," in refused("run", config=f"{CIFAR10}:s3,papre")


def test_a_work_directory_of_another_configuration_is_refused(refused, tmp_path):
    record_config(tmp_path / "run", load_config(str(DIGITS), []))
    (tmp_path / "run" / "architecture.json").write_text("{}")
    before = (tmp_path / "run" / "config.json").read_bytes()
    message = refused("run", "--config.seed=5", "--config.data.dir=")
    assert f"{tmp_path / 'run'} holds a run with another configuration:\n  seed: 0 recorded, 5 given\nUse" in message
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_work_directory_where_another_process_works_is_refused(capsys, tmp_path):
    with locked(tmp_path / "run"):
        assert main(["run", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}", *SMALL]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in message
    assert f"works in {tmp_path / 'run'}. Wait for its end, or stop it, or use another --workdir." in message
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_damaged_record_of_the_configuration_is_named(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{")
    assert "config.json is not readable as JSON" in refused("run")


# -- mistakes in what the configuration names ------------------------------------------------------------


def test_an_unknown_dataset_names_near_ones(refused):
    message = refused("run", "--config.data.name=cifr10", *SMALL)
    assert "unknown dataset 'cifr10'; did you mean " in message and "cifar10" in message


def test_a_missing_data_directory_says_what_to_run(refused, tmp_path):
    folder = tmp_path / "nowhere"
    message = refused("run", "--config.data.name=cifar10", f"--config.data.dir={folder}", *SMALL)
    assert f"data_dir='{folder}' does not exist" in message
    assert "download_and_prepare()" in message and "array_record" in message


@pytest.mark.parametrize("override", ["num_classes=7", "image_shape=(16, 16, 1)"])
def test_classes_and_images_must_be_those_of_the_data(refused, override):
    key, value = override.split("=")
    message = refused("run", f"--config.data.{override}", *SMALL)
    assert f"data.{key}={value}" in message
    assert "do not fit dataset 'digits', which has 10 classes and images of (8, 8, 1)." in message


@pytest.mark.parametrize("stage", ["teacher", "search"])
def test_a_batch_that_does_not_divide_among_the_devices_is_refused(refused, stage):
    message = refused("run", *SMALL, f"--config.{stage}.batch_size=65")
    assert f"{stage}.batch_size = 65 cannot be divided among 4 devices; use 64 or 68." in message


@pytest.mark.parametrize("stage", ["teacher", "search", "train"])
def test_a_batch_of_more_images_than_there_are_is_refused(refused, stage):
    message = refused("run", *SMALL, f"--config.{stage}.batch_size=100000")
    assert f"{stage}.batch_size = 100000, but there are 1300 training images: use at most that." in message


def test_a_number_outside_its_range_is_refused(refused):
    message = refused("run", "--config.adversarial.epsilon=8")
    assert "adversarial.epsilon = '8': expected lengths in pixels scaled to [0, 1], from 0 to 1." in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mean=(0.1,0.2)", "data.mean = (0.1, 0.2): expected one for each channel of data.image_shape"),
        ("evaluation.epsilons=('0.1','0.1')", "evaluation.epsilons = ('0.1', '0.1') has '0.1' twice."),
        ("baselines=('plain','plain')", "baselines = ('plain', 'plain') has 'plain' twice."),
        ("train.optimizer.betas=(0.9,)", "optimizer.betas = (0.9,): expected two."),
        ("teacher.architecture=nothing", "no model is named 'nothing'; the names are wide_resnet_"),
        ("search.batch_size=512", "an epoch of the search has 2 steps, but alternation needs at least 5"),
    ],
)
def test_what_would_be_found_after_training_is_refused_before(refused, override, message):
    assert message in refused("run", f"--config.{override}")


def test_too_many_held_out_images_are_refused(refused):
    message = refused("run", *SMALL, "--config.data.held_out=1437")
    assert "held_out=1437 of 1437 images of 'digits'" in message and "choose at most" in message


# -- the teacher -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """An untrained teacher of seven classes."""
    path = tmp_path_factory.mktemp("seven") / "teacher"
    model = build_model("wide_resnet_10_1", num_classes=7, mean=(0.3,), std=(0.4,))
    shapes = jax.eval_shape(lambda: dict(model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    save_teacher(path, model, variables, architecture="wide_resnet_10_1", image_shape=(8, 8, 1), origin={})
    return path


def test_a_missing_teacher_is_refused(refused, tmp_path):
    message = refused("run", f"--config.teacher.path={tmp_path}")
    assert f"no teacher at {tmp_path}: expected a directory that holds 'teacher.json'" in message


def test_a_teacher_of_other_classes_is_refused(refused, teacher):
    message = refused("search", f"--config.teacher.path={teacher}")
    assert f"the teacher at {teacher} has 7 classes, but data.num_classes=10." in message


def test_a_teacher_of_other_images_is_refused(refused, teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "small")
    card = tmp_path / "small" / "teacher.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "image_shape": [12, 12, 1]}))
    message = refused("search", "--config.data.class_ids=(0,1,2,3,4,5,6)", "--config.data.num_classes=7",
                      f"--config.teacher.path={tmp_path / 'small'}")  # fmt: skip
    assert (
        f"the teacher at {tmp_path / 'small'} was made for images of (12, 12, 1), but data.image_shape=(8, 8, 1)"
        in (message)
    )


def test_an_unknown_teacher_names_the_forms(refused):
    message = refused("teacher train", "--config.teacher.architecture=resnet")
    assert "no model is named 'resnet'; the names are wide_resnet_<depth>_<width>" in message


def test_an_unknown_objective_of_the_teacher_is_refused(refused):
    message = refused("teacher train", "--config.teacher.objective=madry")
    assert "'madry' of the objective; expected one of none, pgd_at" in message


# -- stages that miss what an earlier one leaves ---------------------------------------------------------


def begun(workdir: Path, *complete: str) -> None:
    """A work directory in whose record these stages are complete."""
    stages = {stage: StageRecord("complete", seconds=1.0, starts=1) for stage in complete}
    record = RunRecord("2026-01-01T00:00:00+00:00", "rnas run", versions(), "cpu", 1, stages)
    record.write(workdir / "run.json")


def test_training_without_an_architecture_says_so(refused, tmp_path):
    begun(tmp_path / "run", "teacher", "search", "derive")
    message = refused("train")
    assert f"no architecture at {tmp_path / 'run' / 'architecture.json'}; run the search first" in message


def test_training_with_a_damaged_architecture_says_so(refused, tmp_path):
    begun(tmp_path / "run", "teacher", "search", "derive")
    (tmp_path / "run" / "architecture.json").write_text('{"format": 1, "space"')
    assert "architecture.json is not readable as JSON" in refused("train")


def test_deriving_without_a_search_says_so(refused, tmp_path):
    begun(tmp_path / "run", "teacher", "search")
    message = refused("search", "--config.gamma=0.0", "--config.kl_weight=0.0", "--config.baselines=()")
    assert f"{tmp_path / 'run'} holds no checkpoint of stage 'search'; run that stage first." in message

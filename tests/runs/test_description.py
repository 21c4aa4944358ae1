"""What is said of a configuration and of a work directory without running anything."""

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

from rnas.cli.arguments import as_text
from rnas.main import main
from rnas.spaces import width_space

ROOT = Path(__file__).resolve().parents[2]
CIFAR10 = ROOT / "configs" / "rnas_cl" / "cifar10.py"
DIGITS = ROOT / "configs" / "rnas_cl" / "digits.py"
SMALL_TEACHER = "--config.teacher.architecture=wide_resnet_10_1"

# Parameters and MACs at 32×32 for K = 10, counted by hand from the published macro tables.
LARGEST = {
    "s3": (183_194, 7_874_176),
    "s5": (333_050, 13_366_912),
    "s7": (482_906, 18_859_648),
    "m": (3_033_210, 317_065_472),
    "l": (11_761_514, 1_236_992_512),
}
SMALLEST = {
    "s3": (112_790, 4_743_304),
    "s5": (206_366, 7_840_648),
    "s7": (299_942, 10_937_992),
    "m": (2_640_390, 280_593_416),
    "l": (10_973_558, 1_163_693_320),
}
SEARCHED = {
    "s3": ((16,) * 3 + (20,) * 3 + (52,) * 3, 118_130, 5_856_904),
    "s5": ((16,) * 5 + (20,) * 5 + (52,) * 5, 215_138, 9_752_968),
    "s7": ((16,) * 7 + (20,) * 7 + (52, 52, 52, 52, 56, 56, 52), 323_162, 13_820_296),
}


@pytest.fixture(autouse=True)
def _settings_of_the_tests(monkeypatch):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    monkeypatch.setattr("rnas.runs.training_cost.speeds", lambda run: {"student": 1e6, "teacher": 1e9})


@pytest.fixture
def describe(tmp_path, capfd):
    """Runs `rnas describe --json` and returns the object that is all of standard output."""

    def run(config, *arguments):
        assert main(["describe", f"--config={config}", f"--workdir={tmp_path}", "--json", *arguments]) == 0
        return json.loads(capfd.readouterr().out)

    return run


@pytest.mark.parametrize("space", LARGEST)
def test_counts_of_the_supernet(describe, space):
    described = describe(f"{CIFAR10}:{space}", SMALL_TEACHER)
    assert described["space"] == space
    assert (described["image_shape"], described["num_classes"]) == ([32, 32, 3], 10)
    assert tuple(described["supernet"].values()) == LARGEST[space]
    assert tuple(described["smallest"].values()) == SMALLEST[space]
    assert "student" not in described
    names = [tap["name"] for tap in described["taps"]["student"]]
    assert names == list(width_space.get_space(space).taps)


@pytest.mark.parametrize("space", SEARCHED)
def test_counts_at_the_searched_widths(describe, tmp_path, space):
    widths, params, macs = SEARCHED[space]
    file = tmp_path / "found.json"
    content = {"format": 1, "space": space, "widths": widths, "image_shape": [32, 32, 3], "num_classes": 10}
    file.write_text(json.dumps(content))
    # The configuration's own space does not matter: the file says what it is.
    described = describe(f"{CIFAR10}:s3", SMALL_TEACHER, f"--architecture={file}")
    assert described["student"] == {"params": params, "macs": macs, "widths": list(widths)}


def test_architecture_of_the_work_directory_is_described(describe, tmp_path):
    taps = width_space.get_space("tiny").taps
    content = {
        "format": 1, "space": "tiny", "widths": [12, 16, 20, 32], "image_shape": [8, 8, 1], "num_classes": 10,
        "teacher_taps": ["conv1", "block1"], "tutors": ["block1"] * len(taps),
    }  # fmt: skip
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    student = describe(DIGITS)["student"]
    assert student["widths"] == [12, 16, 20, 32]
    assert student["tutors"] == dict.fromkeys(taps, "block1")


def test_teacher_and_taps_have_their_sizes(describe):
    described = describe(f"{CIFAR10}:s3")
    teacher = described["teacher"]
    assert teacher["architecture"] == "wide_resnet_34_10"
    # By hand: a stage of five blocks has nine 3×3 convolutions of its own width and one of each other kind.
    first = 32**2 * (9 * 16 * 160 + 9 * 9 * 160 * 160 + 16 * 160)
    second = 16**2 * (9 * 160 * 320 + 9 * 9 * 320 * 320 + 160 * 320)
    third = 8**2 * (9 * 320 * 640 + 9 * 9 * 640 * 640 + 320 * 640)
    macs = 32**2 * 9 * 3 * 16 + first + second + third + 640 * 10
    assert (teacher["params"], teacher["macs"]) == (46_160_474, macs)
    sizes = {tap["name"]: (tap["height"], tap["width"], tap["channels"]) for tap in described["taps"]["student"]}
    # The stem halves 32×32; a block expands sixfold at its input, and its depthwise convolution may halve.
    assert sizes["stem"] == (16, 16, 16) and sizes["block0.expand"] == (16, 16, 96)
    assert sizes["block3.expand"] == (16, 16, 96) and sizes["block3.depthwise"] == (8, 8, 96)
    assert sizes["block3.project"] == (8, 8, 32) and sizes["block8.project"] == (4, 4, 64)
    assert described["taps"]["teacher"][0] == {"name": "conv1", "height": 32, "width": 32, "channels": 16}


def test_nothing_but_one_object_is_printed(tmp_path):
    """In a process of its own, where imports and libraries may also print."""
    command = [sys.executable, "-m", "rnas.main", "describe", f"--config={DIGITS}", f"--workdir={tmp_path}", "--json"]
    cache = tmp_path.parent / f"{tmp_path.name}_cache"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["space"] == "tiny"
    assert list(tmp_path.iterdir()) == [], "describing a configuration makes no files"


COST = (
    "search.epochs=3", "search.batch_size=100", "train.epochs=5", "train.batch_size=50", "baselines=('plain',)",
    "adversarial.steps=4", "teacher.epochs=2", "teacher.steps=2", "teacher.batch_size=100", "data.held_out=137",
    "evaluation.count=100", "evaluation.attacks=pgd_100", "evaluation.epsilons=('0.1','0.2')",
    "evaluation.curve=('0.1',)", "evaluation.auto_attack=()", "data.train_count=0",
)  # fmt: skip


def test_what_a_run_costs(describe):
    """Counted by hand for 1,300 training images."""
    described = describe(DIGITS, SMALL_TEACHER, *(f"--config.{override}" for override in COST))
    cost, student, teacher = (described[name] for name in ("cost", "supernet", "teacher"))
    assert cost["training_images"] == 1300

    # TRADES: a clean and an attacked pass to the weights, 3 each, and steps of 2; the teacher sees every image once.
    own = {"search": 3 * 1300, "train": 5 * 1300}
    for stage, (epochs, steps) in {"search": (3, 39), "train": (5, 130)}.items():
        passes = own[stage] * (6 + 2 * 4)
        assert {key: cost[stage][key] for key in ("epochs", "steps", "images", "forward_passes", "macs")} == {
            "epochs": epochs, "steps": steps, "images": own[stage], "forward_passes": passes + own[stage],
            "macs": passes * student["macs"] + own[stage] * teacher["macs"],
        }  # fmt: skip
        expected = passes * student["macs"] / 1e6 + own[stage] * teacher["macs"] / 1e9
        assert cost[stage]["seconds"] == pytest.approx(expected, abs=1)
    assert cost["teacher"]["steps"] == 26 and cost["baselines"]["macs"] == 3 * 5 * 1300 * student["macs"]
    # Two radii of PGD-100 with two losses, the clean images, and PGD-20 of the curve; three models.
    passes = 100 * (2 * 2 * (3 * 100 + 1) + 1 + 3 * 20 + 1)
    assert cost["evaluate"]["forward_passes"] == 3 * passes and cost["evaluate"]["steps"] == 0
    assert cost["all"]["macs"] == sum(cost[stage]["macs"] for stage in ("teacher", *own, "baselines", "evaluate"))


def test_the_cost_is_unknown_without_the_data(describe, tmp_path):
    described = describe(f"{CIFAR10}:s3", f"--config.data.dir={tmp_path / 'nowhere'}", SMALL_TEACHER)
    assert "nowhere' does not exist" in described["cost"]["unknown"] and described["supernet"]["params"] == 183_194


def test_text_for_a_reader(tmp_path, capsys):
    assert main(["describe", f"--config={CIFAR10}:s3", f"--workdir={tmp_path}", SMALL_TEACHER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  params: 183,194" in lines and "  macs: 7,874,176" in lines
    assert "  student (28 taps)" in lines and "    stem  16×16×16" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no architecture at {file}; run the search first, or name another file."),
        ("{", "{file} is not readable as JSON"),
        ("[1]", "{file} expected an object, got [1]."),
        ('{"format": 1, "space": "s3", "widths": [16], "image_shape": [32, 32, 3], "num_classes": 10}',
         "{file} space 's3' has 9 blocks, but 1 widths were given."),
    ],
)  # fmt: skip
def test_an_unreadable_architecture_is_refused(tmp_path, capsys, text, message):
    file = tmp_path / "found.json"
    if text is not None:
        file.write_text(text)
    command = ["describe", f"--config={DIGITS}", f"--workdir={tmp_path}", f"--architecture={file}", "--json"]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and message.format(file=file) in shown.err


def test_status_of_no_run_is_refused(tmp_path, capsys):
    assert main(["status", f"--workdir={tmp_path}", "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and f"{tmp_path} holds no run: expected 'run.json' there" in shown.err


def test_status_names_every_stage_and_refuses_an_older_run(tmp_path, capsys):
    done = {"seconds": 1234.5, "starts": 2, "status": "complete"}
    record = {"command": "rnas run --config=a.py", "stages": {"teacher": done}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert main(["status", f"--workdir={tmp_path}", "--json"]) == 2
    assert "an earlier version wrote it. Go on with that version, or start anew" in capsys.readouterr().err

    started = {"format": 2, "started": "2026-01-01T00:00:00+00:00", "versions": {}, "device": "cpu", "devices": 1}
    (tmp_path / "run.json").write_text(json.dumps(started | record))
    assert main(["status", f"--workdir={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == "rnas run --config=a.py"
    assert found["stages"].pop("teacher") == done
    assert found["stages"] == dict.fromkeys(
        ("search", "derive", "train", "finetune", "baselines", "evaluate", "report"), {"status": "waiting"}
    )


def test_as_text_indents_what_is_nested():
    taps = [{"name": "stem", "height": 8, "width": 8, "channels": 16}]
    result = {"space": "tiny", "supernet": {"params": 12345}, "taps": {"student": taps}}
    assert as_text(result).splitlines() == [
        "space: tiny", "supernet", "  params: 12,345", "taps", "  student (1 taps)", "    stem  8×8×16",
    ]  # fmt: skip

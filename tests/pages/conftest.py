"""A finished run's files, small and made up, so that the page can be checked against known figures."""

import copy
import functools
import json
import re

import numpy as np
import pytest

from rnas.artifacts.metrics import MetricsRow
from rnas.attacks import catalogue
from rnas.pages import curves, decisions, drawings, site, study_page, write_report
from rnas.pages.attack_page import attack_context
from rnas.pages.canvas import Picture, draw
from rnas.pages.run_page import run_context
from rnas.pages.table import Table
from rnas.pages.workdir import read_attack
from rnas.spaces import width_space

MAIN, SMALL = 8 / 255, 2 / 255


def share(accuracy, count=360):
    """An accuracy with a made-up interval, five points to either side."""
    interval = [round(accuracy - 0.05, 6), round(accuracy + 0.05, 6)]
    return {"accuracy": accuracy, "count": count, "interval": interval}


ATTACKS = ("fgsm", "mim_20_step_0.8", "pgd_20_step_0.8", "pgd_20", "cw_20", "pgd_100")  # of every table


def attack(name, accuracy, epsilon, count=360):
    """A score with the settings that the catalogue gives the attack at a radius."""
    made = catalogue.find(name)
    settings = {"steps": made.steps, "restarts": made.restarts, "start": made.start, "loss": made.loss}
    return {"epsilon": epsilon, "step_size": made.step_size(epsilon), **settings, **share(accuracy, count)}


def model(kind, label, clean, main, small, **more):
    """Scores in the shape of evaluation.json: one figure for every attack at either radius."""
    points = [{"epsilon": e, **share(a)} for e, a in ((0, clean), (SMALL, small), (MAIN, main))]
    return {
        "kind": kind,
        "label": label,
        "params": None,
        "macs": None,
        "clean": share(clean),
        **{name: attack(name, main, MAIN) for name in ATTACKS},
        "epsilons": {"2/255": {name: attack(name, small, SMALL) for name in ATTACKS}},
        "curve": {"attack": "pgd_20_step_0.8", "points": points},
        **more,
    }


def evaluation_of(models, **more):
    """The content of evaluation.json: the student's figures stand at the top too."""
    own = {key: value for key, value in models["student"].items() if key not in ("kind", "label")}
    return {
        "format": 2,
        **own,
        "models": models,
        "threat_model": "linf",
        "versions": {"jax": "0.10.2"},
        **more,
    }


CONFIG = {
    "seed": 3,
    "space": "tiny",
    "data": {"name": "digits", "held_out": 180},
    "note": "a <b>bold</b> & risky one",
}
RUN = {
    "format": 2,
    "command": "rnas run --config=configs/tiny.py --workdir='a<b>'",
    "started": "2026-01-02T03:04:05",
    "versions": {"jax": "0.10.2"},
    "device": "cpu",
    "devices": 2,
    "stages": {
        name: {"seconds": 61.6, "starts": 1, "status": "complete"}
        for name in ("teacher", "search", "derive", "train", "finetune", "baselines", "evaluate")
    },
}
TINY = width_space.get_space("tiny")
TEACHER_TAPS = ["conv1", "block1.layer.0.conv1"]
ARCHITECTURE = {
    "format": 1,
    "space": "tiny",
    "image_shape": [8, 8, 1],
    "num_classes": 10,
    "widths": [12, 16, 32, 20],
    "width_probabilities": [[0.25, 0.75], [0.9, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]],
    "student_taps": list(TINY.taps),
    "teacher_taps": TEACHER_TAPS,
    "tutors": [TEACHER_TAPS[0], TEACHER_TAPS[0], *[TEACHER_TAPS[1]] * 11],
    "tutor_probabilities": [[0.75, 0.25], [0.5, 0.5], *[[0.125, 0.875]] * 11],
    "teacher": {"architecture": "wide_resnet_10_1", "hash": "f00d"},
    "params": 18930,
    "macs": 123456,
}
SIZE = {"params": 18930, "macs": 123456}
EVALUATION = evaluation_of(
    {
        "student": model("student", "Student", 0.9125, 0.6125, 0.85, **SIZE),
        "teacher": model("teacher", "Teacher", 0.95, 0.7, 0.9, params=78330, macs=4200000),
        "baseline_no_distillation": model("no_distillation", "Baseline, no distillation", 0.9, 0.6, 0.8, **SIZE),
        "baseline_plain": model("plain", "Baseline, plain training", 0.975, 0.025, 0.4, **SIZE),
    },
    dataset={"name": "digits", "counts": {"test": 360}, "sha256": "beef"},
    seed=7,
)


RIGHT, COUNT = 328, 360  # 0.9111, within rounding of the clean accuracy above


def stages():
    """Attack, examples it met, examples it fooled: 200 of 360 still stand at the end."""
    standing = RIGHT
    for name, fooled in (("apgd_ce", 90), ("apgd_t", 30), ("fab_t", 0), ("square", 8)):
        attacked, standing = standing, standing - fooled
        yield {
            "name": name,
            "settings": {"steps": 100, "restarts": 1},
            "attacked": attacked,
            "fooled": fooled,
            "cumulative": share(standing / COUNT),
            "alone": None,
            "seconds": 61.6,
            "queries": 123_456,
        }


ATTACK = {
    "format": 2,
    "model": {
        "name": "student",
        "kind": "student",
        "label": "Student",
        "source": "runs/<digits>",
        "architecture": "supernet_tiny",
        "hash": "cafe",
        "params": 18930,
        "macs": 123456,
        "num_classes": 10,
    },
    "dataset": {
        "name": "digits",
        "version": "1.0.0",
        "split": "test",
        "count": COUNT,
        "first": 0,
        "sha256": "beef",
        "class_names": [],
    },
    "threat": {"norm": "linf", "epsilon": MAIN, "epsilon_text": "8/255"},
    "attack": "auto_attack",
    "version": "standard",
    "seed": 5,
    "clean": share(RIGHT / COUNT),
    "attacks": list(stages()),
    "robust": share(200 / COUNT),
    "uint8": {"fooled": 128, "still_fooling": 126, "outside_ball": 3},
    "curve": {
        "attack": "pgd_20",
        "points": [
            {"epsilon": k / 255, **share(accuracy)}
            for k, accuracy in zip(
                (0, 1, 2, 4, 8, 16, 32, 64, 128, 255),
                (RIGHT / COUNT, 0.9, 0.85, 0.75, 0.6, 0.4, 0.2, 0.075, 0.05, 0.05),
                strict=True,
            )
        ],
    },
    "transfer": [{"source": "runs/other/attacks/teacher_auto_attack", "model": "Teacher", **share(0.725)}],
    "checks": [
        {"letter": "A", "name": "inputs", "status": "passed", "figure": "pixels in [0, 1]", "advice": ""},
        {"letter": "B", "name": "gradients", "status": "warning", "figure": "1.5 % zero", "advice": "Try <margin>."},
        {"letter": "D", "name": "order", "status": "passed", "figure": "0.0 points", "advice": ""},
        {"letter": "J", "name": "controls", "status": "skipped", "figure": "", "advice": "in the tests"},
    ],
    "warnings": ["Square ran with its own schedule"],
    "versions": {"jax": "0.10.2"},
    "device": "cpu",
    "devices": 1,
    "batch_size": 128,
    "precision": "float32, highest",
    "caveat": "Passing checks are no proof.",
    "identity": {},
    "seconds": 246.4,
    "cost": {
        "forward_seconds": 0.00012,
        "estimated_forwards": 2_378_400,
        "forwards": 2_100_000,
        "compilations": 7,
    },
}


def write_attack_files(folder, without=(), **changed):
    """Writes the folder of an evaluation, with the fields of attack.json in `changed` as given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attack.json").write_text(json.dumps(ATTACK | changed))
    labels = np.arange(COUNT) % 10
    wrong, fooled = np.arange(COUNT) < COUNT - RIGHT, np.arange(COUNT) >= COUNT - 128
    clean_predictions = np.where(wrong, (labels + 1) % 10, labels)
    distance = np.where(fooled, np.linspace(0.5, 1, COUNT) * MAIN, 0)
    np.savez(
        folder / "examples.npz",
        index=np.arange(COUNT),
        label=labels,
        clean_prediction=clean_predictions,
        adversarial_prediction=np.where(fooled, (labels + 2) % 10, clean_predictions),
        distance_linf=distance,
        distance_l2=distance * 8,  # the root of 64 pixels
        distance_l1=distance * 64,
    )
    clean = np.linspace(0, 0.9, 128 * 64, dtype=np.float32).reshape(128, 8, 8, 1)
    moved = np.float32(distance[fooled])[:, None, None, None]
    np.savez(folder / "adversarial.npz", row=np.flatnonzero(fooled), images=clean + moved, clean=clean)
    for name in without:
        (folder / name).unlink()
    return folder


OPERATIONS = {
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}


def cell(words):
    """`"sep5(0) skip(1) …"` -> [[operation, source], …]."""
    return [[OPERATIONS[name], int(source)] for name, source in re.findall(r"(\w+)\((\d)\)", words)]


CELLS = {  # published with DSARA
    "accurate": cell("skip(0) skip(1) sep5(0) sep3(1) sep5(3) sep3(1) sep5(4) skip(0)"),
    "reduce": cell("avg(1) avg(0) dil5(2) avg(0) dil5(3) dil5(2) dil5(4) dil5(3)"),
    "robust": cell("dil5(0) dil5(1) dil5(1) dil5(2) dil3(3) dil5(2) dil3(4) dil3(3)"),
}
SIZES = {"params": 141306, "macs": 39963904}
CELL_ARCHITECTURE = {
    "format": 1,
    "space": "dsara",
    **CELLS,
    "concat": [2, 3, 4, 5],
    "image_shape": [32, 32, 3],
    "num_classes": 10,
    "channels": 16,
    "cells": 8,
    "placement": ["accurate", "accurate", "reduce", "accurate", "accurate", "reduce", "robust", "robust"],
    **SIZES,
    "origin": {"method": "dsara"},
}
CELL_CONFIG = {
    "system": "dsara",
    "seed": 2,
    "space": "dsara",
    "genotype": "",
    "data": {"name": "cifar10", "held_out": 500},
    "search": {"method": "dsara", "epochs": 4, "stage1_epochs": 2, "gamma": 0.0, "kl_weight": 0.0},
    "train": {"channels": 16, "cells": 8, "gamma": 0.0, "kl_weight": 0.0},
    "baselines": ["random", "plain"],
}
CELL_MODELS = {  # kind, label, clean, under every attack at 8/255, at 2/255
    "student": ("student", "Searched network", 0.825, 0.5125, 0.75),
    "baseline_random_0": ("random", "Random network 0", 0.8, 0.4825, 0.7),
    "baseline_random_2": ("random", "Random network 2", 0.81, 0.4625, 0.71),
    "baseline_random_10": ("random", "Random network 10", 0.79, 0.4225, 0.69),
    "baseline_plain": ("plain", "Baseline, plain training", 0.9375, 0.0625, 0.2),
    "baseline_advrush": ("published", "AdvRush network", 0.83, 0.5025, 0.74),
}


def auto_attack(accuracy, count=200):
    return {"epsilon": MAIN, "version": "standard", **share(accuracy, count)}


def cell_scores(kind, label, clean, main, small):
    return {**model(kind, label, clean, main, small, **SIZES), "auto_attack": auto_attack(round(main - 0.02, 6))}


CELL_EVALUATION = evaluation_of(
    {name: cell_scores(*figures) for name, figures in CELL_MODELS.items()},
    dataset={"name": "cifar10/3.0.2", "counts": {"test": 360}, "data_sha256": "beef"},
    seed=2,
)


def probabilities(epoch):
    """The softmax of logits that drift from 0 to the cells above, as a search records it."""
    for kind, entries in CELLS.items():
        kept = {(2 + place // 2, source): operation for place, (operation, source) in enumerate(entries)}
        for number, edge in enumerate((node, source) for node in (2, 3, 4, 5) for source in range(node)):
            drift = [0.5 if name == kept.get(edge) else 0.02 * (number % 5) for name in OPERATIONS.values()]
            weights = np.exp(epoch * np.array(drift))
            for name, weight in zip(OPERATIONS.values(), weights / weights.sum(), strict=True):
                yield f"{kind}/{number}/{name}", float(weight)


def cell_metrics():
    def row(stage, split, step, epoch, **metrics):
        return {"stage": stage, "split": split, "step": step, "epoch": epoch, "time": 1.0, **metrics}

    for step in range(9):
        objectives = {"natural_loss": 2 - 0.15 * step, "adversarial_loss": 2.1 - 0.1 * step, "cosine": 0.5}
        yield row("search", "train", step, step / 2, loss=2 - 0.1 * step, gamma=0.1 * max(0, step - 4), **objectives)
    for epoch in range(5):
        yield row("search", "architecture", 2 * epoch, float(epoch), **dict(probabilities(epoch)))
    for stage in ("train", "baseline_random_0"):
        for step in range(4):
            yield row(stage, "train", step, step / 2, loss=2 - 0.1 * step)


def run_record(**stages):
    """The content of run.json with some stages, by status."""
    stages = {name: {"seconds": 1.0, "starts": 1, "status": status} for name, status in stages.items()}
    return RUN | {"stages": stages}


def write_cell_files(folder, without=(), metrics=None, **changed):
    """Writes the work directory of a search for cells, less the files of `without`, with `changed` as given."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"config": CELL_CONFIG, "run": RUN, "architecture": CELL_ARCHITECTURE, "evaluation": CELL_EVALUATION}
    for name, content in defaults.items():
        (folder / f"{name}.json").write_text(json.dumps(changed.get(name, content)))
    rows = cell_metrics() if metrics is None else metrics
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "architectures").mkdir(exist_ok=True)
    for number in (10, 2, 0):
        drawn = CELL_ARCHITECTURE | {"accurate": CELLS["robust"], "origin": {"method": "random"}}
        (folder / "architectures" / f"random_{number}.json").write_text(json.dumps(drawn))
    for name in without:
        (folder / name).unlink()
    return folder


def metrics():
    for stage in ("teacher", "search", "train", "baseline_no_distillation", "baseline_plain"):
        for step in range(6):
            row = {
                "stage": stage,
                "split": "train",
                "step": step,
                "epoch": step / 2,
                "time": 1.0,
                "loss": 2.0 - 0.1 * step,
            }
            if stage == "search":
                row |= {"attention": 3.0, "kl": 0.5, "macs": 1e5, "temperature": 5.0}
            yield row
        yield {"stage": stage, "split": "validation", "step": 5, "epoch": 2.5, "time": 2.0, "accuracy": 0.5}


def write_files(folder, without=(), **changed):
    """Writes a work directory, less the files of `without`, with the JSON files of `changed` as given."""
    defaults = {"config": CONFIG, "run": RUN, "architecture": ARCHITECTURE, "evaluation": EVALUATION}
    for name, content in defaults.items():
        (folder / f"{name}.json").write_text(json.dumps(changed.get(name, content)))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()))
    images = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 8, 8, 1)
    np.savez(
        folder / "adversarial.npz",
        images=images,
        adversarial=np.clip(images + np.float32(MAIN), 0, 1),
        labels=np.array([4, 5, 6]),
        clean_predictions=np.array([4, 5, 1]),
        adversarial_predictions=np.array([4, 9, 1]),
    )
    for name in without:
        (folder / name).unlink()
    return folder


def write_outcome_files(folder, noise=0.0, count=360, without=(), **changed):
    """Writes `evaluation/<model>.npz` that fits the evaluation of a work directory.

    Images have the same difficulty for all models, but for a `noise` of each; without any the better model is right
    wherever the other is. Models of `without` get no file, and `changed` are arrays in place of ids or labels.
    """
    models = json.loads((folder / "evaluation.json").read_text())["models"]
    (folder / "evaluation").mkdir(exist_ok=True)
    for number, (name, scores) in enumerate(models.items()):
        rng = np.random.default_rng(number)
        kept = {"clean": scores["clean"]}
        kept |= {f"{attack}@8/255": score for attack, score in scores.items() if attack in (*ATTACKS, "auto_attack")}
        kept |= {f"{attack}@2/255": score for attack, score in scores["epsilons"].get("2/255", {}).items()}
        hardness = np.linspace(0, 1, count) + noise * rng.standard_normal(count)
        arrays = {"ids": np.arange(count) + 7, "labels": np.arange(count) % 10} | changed
        for key, score in kept.items():
            arrays[key] = np.argsort(np.argsort(hardness)) < round(score["accuracy"] * count)
        if name not in without:
            np.savez(folder / "evaluation" / f"{name}.npz", **arrays)
    return folder


@pytest.fixture
def write_outcomes():
    """`write_outcomes(folder, noise=0.0, without=(), **changed)`: see `write_outcome_files`."""
    return write_outcome_files


@pytest.fixture
def write_run(tmp_path):
    """`write_run(without=(), **changed)`: a work directory of its own for a test that changes something."""
    return functools.partial(write_files, tmp_path)


@pytest.fixture
def write_attack(tmp_path):
    """`write_attack(name, without=(), **changed)`: an evaluation under `attacks/` of the test's work directory."""
    return lambda name="student_auto_attack_linf_8_255", *args, **changed: write_attack_files(
        tmp_path / "attacks" / name, *args, **changed
    )


@pytest.fixture(scope="session")
def attacked_context(tmp_path_factory):
    """Folder and context of one evaluation without a run, drawn once."""
    folder = write_attack_files(tmp_path_factory.mktemp("attacked") / "student_auto_attack")
    return folder, attack_context(read_attack(folder))


@pytest.fixture(scope="session")
def attacked(attacked_context):
    """The page of one evaluation without a run, for the tests that only read it."""
    return site.publish(attacked_context[0] / "report.html", "attack.html", attacked_context[1])


@pytest.fixture
def attack_summary():
    return copy.deepcopy(ATTACK)


@pytest.fixture(scope="session")
def finished_context(tmp_path_factory):
    """Work directory and context of a finished run, drawn once."""
    folder = write_files(tmp_path_factory.mktemp("finished"))
    return folder, run_context(folder)


@pytest.fixture(scope="session")
def finished(finished_context):
    """The page of a finished run, for the tests that only read it."""
    return site.publish(finished_context[0] / "report.html", "run.html", finished_context[1])


@pytest.fixture
def write_cells(tmp_path):
    """`write_cells(name, without=(), metrics=None, **changed)`: a search for cells in a folder of the test."""
    return lambda name="cells", *args, **changed: write_cell_files(tmp_path / name, *args, **changed)


@pytest.fixture(scope="session")
def searched_context(tmp_path_factory):
    """Work directory and context of a finished search for cells, drawn once."""
    folder = write_cell_files(tmp_path_factory.mktemp("searched") / "run")
    return folder, run_context(folder)


@pytest.fixture(scope="session")
def searched(searched_context):
    """The page of a finished search for cells, for the tests that only read it."""
    return site.publish(searched_context[0] / "report.html", "run.html", searched_context[1])


@pytest.fixture
def cell_config():
    return copy.deepcopy(CELL_CONFIG)


@pytest.fixture
def cell_architecture():
    return copy.deepcopy(CELL_ARCHITECTURE)


@pytest.fixture
def cell_evaluation():
    return copy.deepcopy(CELL_EVALUATION)


@pytest.fixture
def cell_rows():
    """What the search recorded of its probabilities, in order of step."""
    return [MetricsRow.from_json(row) for row in cell_metrics() if row["split"] == "architecture"]


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures keep their names and words and are not drawn, which takes most of a page's time."""

    def leave_out(name, alt, size, paint, wide=False):
        return Picture(name, b"", alt, *map(round, size), wide=wide)

    for module in (drawings, curves, decisions, study_page):
        monkeypatch.setattr(module, "draw", leave_out)


@pytest.fixture
def context_of(undrawn):
    """`context_of(workdir, *beside)`: what the page of a run shows, as data."""
    return lambda workdir, *beside: run_context(workdir, beside)


@pytest.fixture
def page_of(read_page, undrawn):
    """`page_of(workdir, *beside)`: the page of a run, written without its pictures and taken apart."""
    return lambda workdir, *beside: read_page(write_report(workdir, beside))


@pytest.fixture
def painted(monkeypatch):
    """`painted(module, function, *args)`: the figure that a function of `module` draws, to look into."""

    def paint(module, function, *args):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figures = []

        def keep(name, alt, size, fill, wide=False):
            def fill_and_keep(figure):
                fill(figure)
                figures.append(figure)

            return draw(name, alt, size, fill_and_keep, wide)

        monkeypatch.setattr(module, "draw", keep)
        function(*args)
        FigureCanvasAgg(figures[0]).draw()  # so that its parts have extents
        return figures[0]

    return paint


def rows_of(context, name):
    """The rows of a table of a context: heading -> text as printed, narrow spaces as plain ones."""
    (table,) = (item for item in site.contents(context) if isinstance(item, Table) and item.name == name)
    return [{column: text.replace("\u202f", " ") for column, text in record.items()} for record in table.records()]


@pytest.fixture
def record():
    """`record(train="running")`: the content of run.json with these stages."""
    return run_record


@pytest.fixture
def rows():
    """`rows(context, name)`: see `rows_of`."""
    return rows_of


@pytest.fixture
def evaluation():
    return copy.deepcopy(EVALUATION)


@pytest.fixture
def architecture():
    return copy.deepcopy(ARCHITECTURE)

"""A finished run's files, small and made up, so that the page can be checked against known figures."""

import copy
import functools
import json

import numpy as np
import pytest

from rnas.report import write_report

MAIN, SMALL = 8 / 255, 2 / 255


def share(accuracy, count=360):
    """An accuracy with a made-up interval, five points to either side."""
    interval = [round(accuracy - 0.05, 6), round(accuracy + 0.05, 6)]
    return {"accuracy": accuracy, "count": count, "interval": interval}


def attack(accuracy, epsilon, steps, count=360):
    return {
        "epsilon": epsilon,
        "step_size": epsilon / 4,
        "steps": steps,
        "restarts": 1,
        "start": "uniform",
        "loss": "ce then margin",
        **share(accuracy, count),
    }


def model(clean, main, small):
    """Scores in the shape of evaluation.json: one figure for every attack at either radius."""
    steps = {"fgsm": 1, "pgd_20": 20, "pgd_20_2": 20, "pgd_100": 100, "mim_20": 20, "cw_20": 20}
    return {
        "clean": share(clean),
        **{name: attack(main, MAIN, k) for name, k in steps.items()},
        "epsilons": {"2/255": {name: attack(small, SMALL, k) for name, k in steps.items()}},
        "curve": [{"epsilon": e, **share(a)} for e, a in ((0, clean), (SMALL, small), (MAIN, main))],
    }


CONFIG = {
    "seed": 3,
    "space": "tiny",
    "data": {"name": "digits", "held_out": 180},
    "note": "a <b>bold</b> & risky one",
}
RUN = {
    "command": "rnas run --config=configs/tiny.py --workdir='a<b>'",
    "started": "2026-01-02T03:04:05",
    "versions": {"jax": "0.10.2"},
    "device": "cpu",
    "devices": 2,
    "stages": {
        name: {"seconds": 61.6, "steps": 1200, "status": "complete"}
        for name in ("teacher", "search", "derive", "train", "finetune", "twins", "evaluate")
    },
}
ARCHITECTURE = {
    "format": 1,
    "space": "tiny",
    "image_shape": [8, 8, 1],
    "num_classes": 10,
    "widths": [12, 32],
    "blocks": [
        {
            "name": "block0",
            "stage": 1,
            "width": 12,
            "options": [16, 12],
            "stride": 1,
            "expansion": 6,
            "resolution": 4,
        },
        {
            "name": "block1",
            "stage": 2,
            "width": 32,
            "options": [32, 28],
            "stride": 2,
            "expansion": 6,
            "resolution": 2,
        },
    ],
    "student_taps": ["stem", "block0.expansion", "block1.expansion"],
    "teacher_taps": ["conv1", "block1.layer.0.conv1"],
    "tutors": ["conv1", "conv1", "block1.layer.0.conv1"],
    "tutor_probabilities": [[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]],
    "width_probabilities": [[0.25, 0.75], [0.9, 0.1]],
    "teacher": {"architecture": "wide_resnet_10_1", "hash": "f00d"},
    "params": 18930,
    "macs": 123456,
}
EVALUATION = {
    **model(0.9125, 0.6125, 0.85),
    "models": {
        "student": {**model(0.9125, 0.6125, 0.85), "params": 18930, "macs": 123456},
        "teacher": {**model(0.95, 0.7, 0.9), "params": 78330, "macs": 4200000},
        "twin_no_distillation": {**model(0.9, 0.6, 0.8), "params": 18930, "macs": 123456},
        "twin_plain": {**model(0.975, 0.025, 0.4), "params": 18930, "macs": 123456},
    },
    "dataset": {"name": "digits", "counts": {"test": 360}, "sha256": "beef"},
    "threat_model": "linf",
    "seed": 7,
    "versions": {"jax": "0.10.2"},
}


def metrics():
    for stage in ("teacher", "search", "train", "twin_no_distillation", "twin_plain"):
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


@pytest.fixture
def write_run(tmp_path):
    """`write_run(without=(), **changed)`: a work directory of its own for a test that changes something."""
    return functools.partial(write_files, tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The page of a finished run, written once for the tests that only read it."""
    return write_report(write_files(tmp_path_factory.mktemp("finished")))


@pytest.fixture
def evaluation():
    return copy.deepcopy(EVALUATION)


@pytest.fixture
def architecture():
    return copy.deepcopy(ARCHITECTURE)

"""What is printed before a run starts, and before it goes on."""

from pathlib import Path

import jax

from rnas.artifacts.run_record import StageRecord
from rnas.config import load_config
from rnas.runs.run_plan import plan
from rnas.runs.stages import NAMES, open_run
from rnas.runs.training_cost import StageCost, speeds

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
COSTS = {
    "teacher": StageCost(10, 1290, 12900, {"teacher": 1.0}, {"teacher": 500.0}),
    "search": StageCost(4, 800, 3200, {"student": 1.0, "teacher": 1.0}, {"student": 1000.0, "teacher": 100.0}),
    "evaluate": StageCost(images=360, passes={"student": 1.0}, macs={"student": 9.0}),
}


def lines(tmp_path, seeds=1, **stages: StageRecord) -> list[str]:
    run = open_run(load_config(str(DIGITS), ["--config.seed=3"]), tmp_path)
    return plan(run, NAMES, stages, COSTS, {"student": 10.0, "teacher": 5.0}, seeds).splitlines()


def test_a_plan_has_steps_and_times_of_every_stage(tmp_path):
    first, *stages, last = lines(tmp_path)
    assert first == f"{tmp_path}: rnas_cl, digits, seed 3, float32, {jax.device_count()} × cpu"
    assert [line.split()[0] for line in stages] == [*COSTS, "report"][:2] + ["derive", "evaluate", "report"]
    assert stages[:3] == [
        "  teacher    1,290 steps, 10 epochs, about 1:40",
        "  search     800 steps, 4 epochs, about 2:00",
        "  derive",
    ]
    assert last == "  in all     about 3:40 and at most 0:01, compiling aside"
    assert max(map(len, stages)) < 80 and len(last) < 80


def test_what_is_complete_is_not_ahead(tmp_path):
    done, begun = StageRecord("complete", 73.0, 1), StageRecord("running", 5.0, 2)
    _, *stages, last = lines(tmp_path, teacher=done, search=begun)
    assert stages[0].split() == ["teacher", "complete,", "1:13"] and stages[1].endswith("about 2:00, begun")
    assert "about 2:00 and at most 0:01" in last


def test_a_study_has_the_time_of_all_its_seeds(tmp_path):
    *rest, last = lines(tmp_path, seeds=5)
    assert rest == lines(tmp_path) and last == "  5 seeds    about 18:20 and at most 0:04, compiling aside"


def test_without_a_measurement_there_are_steps_alone(tmp_path):
    assert COSTS["search"].seconds({"student": 10.0}) is None
    run = open_run(load_config(str(DIGITS), []), tmp_path)
    shown = plan(run, NAMES, {}, COSTS, {}).splitlines()
    assert "  search     800 steps, 4 epochs" in shown and "about" not in " ".join(shown)


def test_speed_is_measured(tmp_path):
    run = open_run(load_config(str(DIGITS), ["--config.teacher.architecture=wide_resnet_10_1"]), tmp_path)
    found = speeds(run, seconds=0.02)
    assert found.keys() == {"student", "teacher"} and all(1e5 < speed < 1e16 for speed in found.values())

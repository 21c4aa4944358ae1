"""Reading a work directory: broken files are named, unfinished ones are not mistaken for broken."""

import json

import numpy as np
import pytest

from rnas.pages import workdir, write_report
from rnas.pages.workdir import read_workdir
from rnas.runs import stages


@pytest.mark.parametrize("name", ["config.json", "run.json", "architecture.json", "evaluation.json"])
@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]", b"\xff\xfe"])
def test_unreadable_json_is_named(write_run, name, content):
    workdir = write_run()
    (workdir / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=name):
        write_report(workdir)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", [], "a number"),
        ("comparisons", 3, "a list of texts"),
        ("system", {}, "a text"),
        ("seed", True, "a num"),
    ],
)
def test_a_setting_of_another_kind_is_named(write_run, key, value, expected):
    path = write_run() / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=f"config.json: {key} is .*, expected {expected}"):
        write_report(path.parent)


def test_a_run_without_a_curve_has_a_page(write_run):
    """`evaluation.curve=()` measures no radius."""
    path = write_run() / "evaluation.json"
    content = json.loads(path.read_text())
    for model in content["models"].values():
        model["curve"] = {"attack": "pgd_20", "points": []}
    path.write_text(json.dumps(content))
    write_report(path.parent)


def test_a_line_still_being_written_is_no_error(write_run):
    workdir = write_run()
    before = read_workdir(workdir).metrics
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "train", "spl')
    assert read_workdir(workdir).metrics == before


def test_steps_written_again_by_a_resumed_run_count_once(write_run):
    workdir = write_run()
    rows = [
        {"stage": "train", "split": "train", "step": step, "loss": loss}
        for step, loss in ((0, 9), (2, 8), (1, 7), (2, 6))
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_workdir(workdir).metrics["train", "train"]
    assert [(row.step, row.values["loss"]) for row in read] == [(0, 9), (1, 7), (2, 6)]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a directory"):
        write_report(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no run"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tutors": ["nowhere"] * 13}, "nowhere"),
        ({"tutors": ["conv1"]}, "1 tutors"),
        ({"tutor_probabilities": [[1.0]] * 13}, "13 rows of 2"),
    ],
)
def test_an_architecture_that_contradicts_itself_is_named(write_run, architecture, change, message):
    with pytest.raises(ValueError, match=message) as error:
        read_workdir(write_run(architecture=architecture | change))
    assert "architecture.json" in str(error.value)


@pytest.mark.parametrize("place", [0, 3])
def test_a_broken_cell_is_named(write_cells, cell_architecture, place):
    cell_architecture["accurate"][place] = ["conv_7x7", 0]
    with pytest.raises(ValueError, match=r"architecture\.json.*conv_7x7"):
        read_workdir(write_cells(architecture=cell_architecture))


def test_a_broken_cell_of_a_baseline_is_named(write_cells):
    workdir = write_cells()
    (workdir / "architectures" / "random_2.json").write_text('{"reduce": []}')
    with pytest.raises(ValueError, match=r"random_2\.json"):
        read_workdir(workdir)


def test_broken_arrays_are_named(write_run):
    workdir = write_run()
    for content in (b"PK\x03\x04 no archive", b""):
        (workdir / "adversarial.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"adversarial\.npz"):
            write_report(workdir)
    np.savez(workdir / "adversarial.npz", images=np.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match=r"adversarial\.npz"):
        write_report(workdir)


def test_the_stages_of_a_page_are_those_of_a_run():
    assert tuple(stages.STAGES) == workdir.STAGES


def test_status_of_a_stage(write_run, record):
    config = {"finetune": {"epochs": 0}, "baselines": ["plain"]}
    record = read_workdir(
        write_run(
            without=["evaluation.json"],
            run=record(train="running", teacher="complete", finetune="complete"),  # each run goes through it
            config=config,
        )
    )
    expected = {
        "teacher": "complete",
        "search": "complete",  # it left an architecture
        "derive": "complete",
        "train": "unfinished",
        "finetune": "not requested",
        "baselines": "unfinished",  # only metrics of theirs
        "evaluate": "not run",
    }
    assert {stage: record.status(stage) for stage in expected} == expected


@pytest.mark.parametrize(
    ("change", "origin"),
    [
        ({}, {"method": "dsara"}),
        ({"architecture": {}}, {"method": "dsara"}),
        ({"architecture": {}, "config": {"system": "dsara", "genotype": "racl"}}, {"published": "racl"}),
        ({"architecture": {}, "config": {"system": "rnas_cl"}}, None),
        ({"architecture": {}, "config": {}}, None),
    ],
)
def test_where_the_cells_come_from(write_cells, change, origin):
    without = ["architecture.json"] if "architecture" in change else []
    assert read_workdir(write_cells("run", without, [], **change)).origin == origin


def test_stages_that_a_search_for_cells_does_not_need(write_cells, cell_config):
    def states(**config):
        files = read_workdir(
            write_cells("run", ["run.json", "architecture.json", "evaluation.json"], [], config=config)
        )
        return {stage: files.status(stage) for stage in ("teacher", "search", "finetune", "train")}

    assert states(**cell_config) == {
        "teacher": "not requested", "search": "not run", "finetune": "not requested", "train": "not run",
    }  # fmt: skip
    cell_config["train"]["kl_weight"] = 1.0
    assert states(**cell_config)["teacher"] == "not run"
    assert states(**cell_config | {"genotype": "racl"})["search"] == "not requested"


@pytest.mark.parametrize(
    ("search", "epoch"),
    [
        ({"method": "dsara", "epochs": 50, "stage1_epochs": 20}, 20),
        ({"method": "dsara", "epochs": 50, "stage1_epochs": 0}, None),
        ({"method": "dsara", "epochs": 20, "stage1_epochs": 20}, None),
        ({"method": "arnas", "epochs": 50, "stage1_epochs": 20}, None),
    ],
)
def test_only_a_search_in_two_stages_has_a_second_one(write_cells, cell_config, search, epoch):
    assert read_workdir(write_cells(config=cell_config | {"search": search})).second_stage == epoch


def test_networks_for_comparison_are_in_order_of_their_numbers(write_cells):
    assert list(read_workdir(write_cells()).others) == ["random_0", "random_2", "random_10"]

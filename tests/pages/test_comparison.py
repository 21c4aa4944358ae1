"""Several runs in one table: a row each, and no figure that does not compare goes unnoticed."""

import copy

import pytest

from rnas.pages import write_report
from rnas.pages.comparison import obstacles, read_runs

NARROW = "\u202f"
COLUMNS = ("Clean", "PGD-20 (step \u03b5/4)", "PGD-100", "AutoAttack")


@pytest.fixture
def beside(context_of, rows):
    """`beside(workdir, *others)`: the section and its rows by name of run."""

    def found(workdir, *others):
        context = context_of(workdir, *others)
        return context["sections"]["beside"].content, {row["Run"]: row for row in rows(context, "runs")}

    return found


@pytest.fixture
def reasons(write_cells):
    """`reasons(**changed)`: why a run with these files does not compare with the one of the fixtures."""

    def found(**changed):
        first, other = read_runs([write_cells("first", metrics=[]), write_cells("other", metrics=[], **changed)])
        return obstacles(first, other)

    return found


def test_one_row_a_run(write_cells, cell_config, cell_architecture, beside):
    workdir = write_cells("dsara_s2", metrics=[])
    arnas = cell_config | {"seed": 3, "search": cell_config["search"] | {"method": "arnas"}}
    other = write_cells(
        "arnas_s3", metrics=[], config=arnas, architecture=cell_architecture | {"origin": {"method": "arnas"}}
    )
    published = write_cells(
        "published",
        metrics=[],
        config=cell_config | {"genotype": "advrush"},
        architecture=cell_architecture | {"origin": {"published": "advrush"}, "params": 4158046, "macs": 645337728},
    )
    content, runs = beside(workdir, other, published)
    scores = dict(zip(COLUMNS, ("82.5", "51.3", "51.3", "49.3"), strict=True))
    searched = {"\u03b5": "8/255", "Parameters": "141 k", "MACs": "40.0 M", **scores, "Search": "1 min 02 s"}
    assert runs["dsara_s2"] == {"Run": "dsara_s2", "Method": "dsara", "Seed": "2", **searched}
    assert runs["arnas_s3"] == {"Run": "arnas_s3", "Method": "arnas", "Seed": "3", **searched}
    assert runs["published"] == searched | {
        "Run": "published", "Method": "published cells: advrush", "Seed": "2", "Parameters": "4.16 M", "MACs": "645 M",
        "Search": "",
    }  # fmt: skip
    assert content["table"].rows[0][-1].below == "2 \u00d7 cpu"
    assert content["table"].rows[0][-2].below == "44.3\u201354.3, of 200" and content["obstacles"] == {}
    assert [list(row.values()) for row in content["settings"].content.records()] == [
        ["seed", "2", "3", "2"],
        ["genotype", "", "", "advrush"],
        ["search.method", "dsara", "arnas", "dsara"],
    ]


def test_both_systems_stand_in_one_table(write_run, write_attack, write_cells, beside, page_of):
    workdir = write_run(["metrics.jsonl"])
    write_attack()
    cells = write_cells("cells", metrics=[])
    content, runs = beside(workdir, cells)
    own = runs[workdir.name]
    assert own["Method"] == "RNAS-CL" and [own[name] for name in COLUMNS[1:]] == ["61.3", "61.3", "55.6"]
    assert runs["cells"]["Method"] == "dsara" and runs["cells"]["AutoAttack"] == "49.3"
    assert content["obstacles"] == {"cells": ["data cifar10/3.0.2, not digits", "200 images under AutoAttack, not 360"]}
    said = page_of(workdir, cells).said()
    assert f"Not comparable with {workdir.name} as they stand." in said
    assert "cells: data cifar10/3.0.2, not digits; 200 images under AutoAttack, not 360." in said


def test_alone_there_is_no_comparison(write_cells, context_of):
    assert "beside" not in context_of(write_cells("run", metrics=[]))["sections"]


def test_same_files_same_bytes(write_cells, undrawn):
    workdir, other = write_cells("one", metrics=[]), write_cells("two", metrics=[])
    before = write_report(workdir, beside=[other]).read_bytes()
    assert write_report(workdir, beside=[str(other)]).read_bytes() == before


def test_the_same_run_compares(reasons):
    assert reasons() == []


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"name": "svhn_cropped/3.1.0"}, "data svhn_cropped/3.1.0, not cifar10/3.0.2"),
        ({"name": "cifar10/3.0.2", "data_sha256": "f00d"}, "another state or part of the data cifar10/3.0.2"),
        ({"name": "cifar10/3.0.2"}, "another state or part of the data cifar10/3.0.2"),
        ({}, "data unknown, not cifar10/3.0.2"),
    ],
)
def test_other_data_are_said(reasons, cell_evaluation, dataset, said):
    assert reasons(evaluation=cell_evaluation | {"dataset": dataset}) == [said]


def changed(evaluation, change):
    """The evaluation with `change(entry)` made to every score of the network the run found."""
    evaluation = copy.deepcopy(evaluation)
    for entry in evaluation["models"]["student"].values():
        if isinstance(entry, dict) and "accuracy" in entry:
            change(entry)
    return evaluation


def test_other_counts_are_said(reasons, cell_evaluation):
    fewer = changed(cell_evaluation, lambda entry: entry.update(count=100))
    assert reasons(evaluation=fewer) == ["100 test images, not 360", "100 images under AutoAttack, not 200"]


def test_another_radius_is_said_unless_the_run_was_attacked_at_this_one(reasons, cell_evaluation):
    def move(entry):
        if "epsilon" in entry:
            entry["epsilon"] = 4 / 255

    moved = changed(cell_evaluation, move)
    assert reasons(evaluation=moved) == ["\u03b5 = 4/255, not 8/255"]
    student = cell_evaluation["models"]["student"]
    at_8 = {name: student[name] for name in ("pgd_20", "pgd_100", "auto_attack")}
    moved["models"]["student"]["epsilons"] = {"8/255": at_8}
    assert reasons(evaluation=moved) == []


def test_a_figure_at_this_radius_is_taken_before_that_of_the_headline(write_cells, cell_evaluation, beside):
    workdir = write_cells("first", metrics=[])
    other = changed(cell_evaluation, lambda entry: entry.update(epsilon=4 / 255))
    at_8 = {"accuracy": 0.125, "count": 360, "interval": [0.1, 0.2], "epsilon": 8 / 255}
    other["models"]["student"]["epsilons"] = {"8/255": {"pgd_100": at_8}}
    _, runs = beside(workdir, write_cells("other", metrics=[], evaluation=other))
    assert runs["other"]["\u03b5"] == "8/255"
    assert [runs["other"][name] for name in COLUMNS[1:]] == ["", "12.5", ""]


def test_another_norm_is_said(reasons, cell_evaluation):
    assert "L2, not L\u221e" in reasons(evaluation=cell_evaluation | {"threat_model": "l2"})


def test_other_settings_of_an_attack_are_said(reasons, cell_evaluation):
    def lengthen(entry):
        if entry.get("steps") in (20, 100):
            entry |= {"step_size": 0.01, "restarts": 5}

    said = reasons(evaluation=changed(cell_evaluation, lengthen))
    name = "PGD-20 (step \u03b5/4)"
    assert said[:2] == [f"{name} with step 0.01, not 2/255", f"{name} with restarts 5, not 1"]
    assert len(said) == 4 and all(words.startswith("PGD-") for words in said)
    rand = changed(cell_evaluation, lambda entry: entry.update(version="rand") if "version" in entry else None)
    assert reasons(evaluation=rand) == ["AutoAttack with version rand, not standard"]


def test_only_attacks_of_one_step_are_compared(write_cells, cell_evaluation, beside):
    """PGD-20 has one step in this column; PGD-20 with another step is another attack."""
    other = copy.deepcopy(cell_evaluation)
    other["models"]["student"]["pgd_20"]["accuracy"] = 0.45
    other["models"]["student"]["pgd_20_step_0.8"]["accuracy"] = 0.3
    _, runs = beside(write_cells("first", metrics=[]), write_cells("other", metrics=[], evaluation=other))
    assert [runs[name]["PGD-20 (step \u03b5/4)"] for name in ("first", "other")] == ["51.3", "45.0"]


def test_a_run_that_was_not_evaluated_is_said(write_cells, beside):
    evaluated, begun = write_cells("evaluated", metrics=[]), write_cells("begun", ["evaluation.json"], [])
    content, _ = beside(evaluated, begun)
    assert content["obstacles"] == {"begun": ["not evaluated yet"]}
    content, runs = beside(begun, evaluated)  # what was measured is compared with what was measured
    assert content["first"] == "evaluated" and content["obstacles"] == {"begun": ["not evaluated yet"]}
    assert [runs["begun"][name] for name in ("Parameters", "MACs", *COLUMNS)] == ["141 k", "40.0 M", "", "", "", ""]


def test_names_tell_runs_apart(write_cells):
    runs = read_runs([write_cells("a/run", metrics=[]), write_cells("b/run", metrics=[])])
    assert [run.name for run in runs] == ["a/run", "b/run"]


def test_a_run_stands_in_the_table_once(write_cells):
    workdir = write_cells("run", metrics=[])
    with pytest.raises(ValueError, match="twice; give each work directory once"):
        write_report(workdir, beside=[workdir / ".." / "run"])


def test_what_is_no_run_is_refused(write_cells, tmp_path):
    with pytest.raises(ValueError, match="absent is not a directory"):
        write_report(write_cells("run", metrics=[]), beside=[tmp_path / "absent"])

"""Several runs in one table: a row each, and no figure that does not compare goes unnoticed."""

import copy

import pytest

from rnas.pages import write_report
from rnas.pages.comparison import obstacles, read_runs


def cells_of(row):
    return [" ".join(cell.replace("\u202f", " ").split()) for cell in row]


def row_of(page, name):
    (row,) = [cells_of(row) for row in page.rows if row and row[0].split()[:1] == [name] and len(row) == 11]
    return row


@pytest.fixture
def page_beside(read_page):
    """`page_beside(workdir, *others)`: the page of a run beside others, taken apart."""
    return lambda workdir, *others: read_page(write_report(workdir, beside=others))


@pytest.fixture
def reasons(write_cells):
    """`reasons(**changed)`: why a run with these files does not compare with the one of the fixtures."""

    def found(**changed):
        first, other = read_runs([write_cells("first", metrics=[]), write_cells("other", metrics=[], **changed)])
        return obstacles(first, other)

    return found


def test_one_row_a_run(write_cells, cell_config, cell_architecture, page_beside):
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
    page = page_beside(workdir, other, published)
    said = page.said()
    shared = ["82.5 77.5\u201387.5", *["51.3 46.3\u201356.3"] * 2, "49.3 44.3\u201354.3 of 200"]
    size = ["8/255", "141 k", "40.0 M"]
    assert row_of(page, "dsara_s2") == ["dsara_s2", "DSARA", "2", *size, *shared, "1 min 02 s 2 \u00d7 cpu"]
    assert row_of(page, "arnas_s3") == ["arnas_s3", "ARNAS", "3", *size, *shared, "1 min 02 s 2 \u00d7 cpu"]
    assert row_of(page, "published") == [
        "published", "AdvRush, published", "2", "8/255", "4.16 M", "645 M", *shared, "\u2013",
    ]  # fmt: skip
    assert "Beside other runs" in said and "Not to be held against" not in said
    differing = [cells_of(row) for row in page.rows if len(row) == 4]
    assert differing[0] == ["Key", "dsara_s2", "arnas_s3", "published"]
    assert differing[1:4] == [
        ["seed", "2", "3", "2"],
        ["genotype", "", "", "advrush"],
        ["search.method", "dsara", "arnas", "dsara"],
    ]


def test_both_systems_stand_in_one_table(write_run, write_attack, write_cells, page_beside):
    workdir = write_run(["metrics.jsonl"])
    write_attack()
    page = page_beside(workdir, write_cells("cells", metrics=[]))
    own = row_of(page, workdir.name)
    assert own[1] == "RNAS-CL" and own[7:10] == ["61.3 56.3\u201366.3"] * 2 + ["55.6 50.6\u201360.6"]
    other = row_of(page, "cells")
    assert other[:2] == ["cells see below", "DSARA"] and other[9] == "49.3 44.3\u201354.3 of 200"
    said = page.said()
    assert f"Not to be held against {workdir.name} as they stand." in said
    assert "cells: data cifar10/3.0.2, not digits; 200 images under AutoAttack, not 360." in said


def test_alone_there_is_no_comparison(searched, read_page):
    assert "Beside other runs" not in read_page(searched).said()


def test_same_files_same_bytes(write_cells):
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
    """The evaluation with `change(entry)` made to every entry of the network the run found."""
    evaluation = copy.deepcopy(evaluation)
    for entries in (evaluation, evaluation["models"]["student"]):
        for entry in list(entries.values()):
            if isinstance(entry, dict) and "accuracy" in entry:
                change(entry)
    return evaluation


def test_other_counts_are_said(reasons, cell_evaluation):
    fewer = changed(cell_evaluation, lambda entry: entry.update(count=100))
    assert reasons(evaluation=fewer) == ["100 test images, not 360", "100 images under AutoAttack, not 200"]
    unknown = changed(cell_evaluation, lambda entry: entry.pop("count"))
    assert reasons(evaluation=unknown)[0] == "an unknown number of test images, not 360"


def test_another_radius_is_said_unless_the_run_was_attacked_at_this_one(reasons, cell_evaluation, write_cells):
    def move(entry):
        if "epsilon" in entry:
            entry["epsilon"] = 4 / 255

    moved = changed(cell_evaluation, move)
    assert reasons(evaluation=moved) == ["\u03b5 = 4/255, not 8/255"]
    both = copy.deepcopy(moved)
    student = cell_evaluation["models"]["student"]
    at_8 = {name: student[name] for name in ("pgd_20", "pgd_20_2", "pgd_100", "auto_attack")}
    for entries in (both, both["models"]["student"]):
        entries["epsilons"] = {"8/255": at_8}
    assert reasons(evaluation=both) == []


def test_a_figure_at_this_radius_is_taken_before_that_of_the_headline(write_cells, cell_evaluation, page_beside):
    workdir = write_cells("first", metrics=[])
    other = copy.deepcopy(cell_evaluation)
    for entries in (other, other["models"]["student"]):
        for name in ("fgsm", "pgd_20", "pgd_20_2", "pgd_100", "mim_20", "cw_20", "auto_attack"):
            entries[name]["epsilon"] = 4 / 255
        entries["epsilons"] = {"8/255": {"pgd_100": {"accuracy": 0.125, "count": 360, "epsilon": 8 / 255}}}
    row = row_of(page_beside(workdir, write_cells("other", metrics=[], evaluation=other)), "other")
    assert row[3] == "8/255" and row[7:10] == ["\u2013", "12.5", "\u2013"]


def test_another_norm_is_said(reasons, cell_evaluation):
    assert "L2, not L\u221e" in reasons(evaluation=cell_evaluation | {"threat_model": "l2"})


def test_other_settings_of_an_attack_are_said(reasons, cell_evaluation):
    def lengthen(entry):
        if entry.get("steps") in (20, 100):
            entry |= {"step_size": 0.01, "restarts": 5}

    said = reasons(evaluation=changed(cell_evaluation, lengthen))
    assert said[:2] == ["PGD-20 with step 0.01, not 2/255", "PGD-20 with restarts 5, not 1"]
    assert len(said) == 4 and all(words.startswith("PGD-") for words in said)
    rand = changed(cell_evaluation, lambda entry: entry.update(version="rand") if "version" in entry else None)
    assert reasons(evaluation=rand) == ["AutoAttack with version rand, not standard"]


def test_of_variants_of_an_attack_the_one_measured_alike_is_taken(write_cells, cell_evaluation, page_beside):
    """The first run is judged by its strongest PGD-20; the other by the variant with the same step, though weaker."""
    first, other = copy.deepcopy(cell_evaluation), copy.deepcopy(cell_evaluation)
    for evaluation, (one, two) in ((first, (0.5, 0.4)), (other, (0.3, 0.45))):
        for entries in (evaluation, evaluation["models"]["student"]):
            entries["pgd_20"] |= {"accuracy": one, "step_size": 0.8 / 255}
            entries["pgd_20_2"] |= {"accuracy": two, "step_size": 2 / 255}
    page = page_beside(
        write_cells("first", metrics=[], evaluation=first), write_cells("other", metrics=[], evaluation=other)
    )
    assert [row_of(page, name)[7].split()[0] for name in ("first", "other")] == ["40.0", "45.0"]


def test_a_run_that_was_not_evaluated_is_said(write_cells, page_beside):
    evaluated, begun = write_cells("evaluated", metrics=[]), write_cells("begun", ["evaluation.json"], [])
    assert "begun: not evaluated yet." in page_beside(evaluated, begun).said()
    page = page_beside(begun, evaluated)  # what was measured is held against what was measured
    assert "Not to be held against evaluated as they stand." in page.said()
    assert row_of(page, "begun")[3:10] == ["\u2013", "141 k", "40.0 M", *["\u2013"] * 4]


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

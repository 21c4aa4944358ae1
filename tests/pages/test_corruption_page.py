"""Common corruptions on the page of a run: a column beside the attacks, and a section."""

import dataclasses

import pytest

from rnas.artifacts.attack import AttackedModel, Images
from rnas.artifacts.corruptions import CorruptionRow, CorruptionSummary, means
from rnas.artifacts.scores import Score
from rnas.pages.corruption_page import corruption_context
from rnas.pages.results import read_results
from rnas.pages.workdir import read_workdir

COUNT = 360
TYPES = {"gaussian_noise": ("noise", 0.5), "fog": ("weather", 0.75), "contrast": ("digital", 0.25)}


def row(name, group, standing, accuracy):
    return CorruptionRow(name, group, standing, (Score.of(round(accuracy * COUNT), COUNT),) * 5)


def summary_of(source="computed", clean=0.9125, **standings):
    rows = [row(name, group, standings.get(name, "published"), accuracy) for name, (group, accuracy) in TYPES.items()]
    mean, mean_with_ours = means(rows)
    return CorruptionSummary(
        identity={"seed": 3}, model=AttackedModel("student", "cafe", 10, label="Student"),
        dataset=Images("digits", "test", COUNT, "beef"), source=source, seed=3,
        clean=Score.of(round(clean * COUNT), COUNT), mean=mean, mean_with_ours=mean_with_ours, rows=tuple(rows),
        seconds=2.0, versions={"scipy": "1"}, device="cpu", devices=1, batch_size=64, precision="float32, highest",
    )  # fmt: skip


def write(workdir, folder, summary):
    summary.write(workdir / "corruptions" / folder / "corruptions.json")


def test_the_mean_stands_beside_the_attacks(write_run, context_of):
    workdir = write_run()
    before = context_of(workdir)["sections"]["results"].content["tables"][0]
    assert before.columns[-1].text != "Corruptions"
    write(workdir, "student", summary_of())
    context = context_of(workdir)
    table, *others = context["sections"]["results"].content["tables"]
    assert table.columns[-1].text == "Corruptions" and all(each.columns[-1].text != "Corruptions" for each in others)
    rows = {cells[0].text: cells[-1] for cells in table.rows}
    assert (rows["Student"].text, rows["Student"].below) == ("50.0", "3 types") and rows["Teacher"].text == ""
    (own,) = context["sections"]["corruptions"].content["table"].records()
    assert (own["Mean"], own["Noise"], own["Weather"], own["Digital"]) == ("50.0", "50.0", "75.0", "25.0")


def test_ours_is_in_no_published_mean():
    summary = summary_of(fog="ours")
    assert summary.mean == pytest.approx(0.375) and summary.mean_with_ours == pytest.approx(0.5)
    assert summary.score.types == 2 and summary.has_ours
    assert summary_of(fog="extra").mean_with_ours == pytest.approx(0.375)
    groups = corruption_context(summary)["sections"]["groups"].content["groups"]
    assert [cells[0].text for cells in groups.rows] == ["Noise", "Digital", "All published types"]
    assert groups.rows[-1][-1].text == "37.5"


def test_published_images_take_the_place_of_computed_ones(write_run):
    workdir = write_run()
    write(workdir, "student", summary_of())
    write(workdir, "student_set", dataclasses.replace(summary_of(source="cifar10_corrupted"), mean=0.4))
    write(workdir, "student_other", dataclasses.replace(summary_of("cifar10_corrupted", clean=0.5), mean=0.1))
    found = read_results(read_workdir(workdir)).student.corruptions  # the last one is of other weights
    assert (found.accuracy, found.source) == (0.4, "cifar10_corrupted")


def test_an_unfinished_measurement_is_named(write_run, page_of):
    workdir = write_run()
    (workdir / "corruptions" / "student" / "ledger").mkdir(parents=True)
    assert "Unfinished evaluations: corruptions/student." in page_of(workdir).said()

"""Differences on the same images: which are tested, by what, and why others are not."""

import json

import numpy as np
import pytest

from rnas.artifacts.outcomes import Outcomes
from rnas.evaluation.paired_statistics import holm, mcnemar, over_seeds, paired_interval
from rnas.pages import differences, write_report, write_seeds_page
from rnas.pages.results import read_results
from rnas.pages.workdir import read_workdir

NO_METRICS = ("metrics.jsonl",)
ALONE, PLAIN = "Baseline, no distillation", "Baseline, plain training"
OLD = "the outcomes of single images were not kept; an earlier version evaluated it"


def outcomes(workdir, name, key="pgd_100@8/255"):
    return Outcomes.read(workdir / "evaluation" / f"{name}.npz").right[key]


def plain(text):
    return text.replace("\u202f", " ").replace("\u2212", "-")


# -- the page of a run -----------------------------------------------------------------------------------


@pytest.fixture
def workdir(write_run, write_outcomes):
    return write_outcomes(write_run(NO_METRICS), noise=0.1)


def test_every_baseline_is_tested_against_the_student(workdir, context_of, rows):
    context = context_of(workdir)
    found = {row["Model"]: row for row in rows(context, "differences_8_255")}
    assert list(found) == [ALONE, PLAIN]  # the teacher is no baseline
    p_values = {}
    for label, name in ((ALONE, "baseline_no_distillation"), (PLAIN, "baseline_plain")):
        first, second = outcomes(workdir, name), outcomes(workdir, "student")
        test, row = mcnemar(first, second), found[label]
        p_values[label] = test.p_value
        assert plain(row["Difference"]) == f"{100 * (first.mean() - second.mean()):+.1f}".replace("+0.0", "0.0")
        assert float(row["Right alone"]) == pytest.approx(100 * test.first_only / 360, abs=0.06)
        assert float(row["Student right alone"]) == pytest.approx(100 * test.second_only / 360, abs=0.06)
    (table,) = [context["sections"]["differences"].content["headline"]]
    assert [row[4].value for row in table.rows] == pytest.approx(list(p_values.values()))
    assert [row[5].value for row in table.rows] == pytest.approx(holm(list(p_values.values())))
    low, high = paired_interval(outcomes(workdir, "baseline_plain"), outcomes(workdir, "student"))
    assert plain(table.rows[1][1].below) == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert table.caption == "PGD-100, \u03b5 = 8/255" and "Newcombe" in table.note
    others = context["sections"]["differences"].content["others"]
    assert [fold.title for fold in others] == ["PGD-100, \u03b5 = 2/255", "Without attack"]


def test_tables_of_differences_are_files_too(workdir, page_of):
    said = page_of(workdir).said()
    for name in ("differences_8_255", "differences_2_255", "differences_clean"):
        assert ALONE in (workdir / "report" / "tables" / f"{name}.csv").read_text()
        assert r"\toprule" in (workdir / "report" / "tables" / f"{name}.tex").read_text()
    assert "minus that of Student, on the same 360 test images" in said and "exact McNemar test" in said
    assert "points between two trained models in four cases of five" in said and "Not compared" not in said


def test_the_same_outcomes_give_the_same_page(workdir, undrawn):
    before = write_report(workdir).read_bytes()
    assert write_report(workdir).read_bytes() == before


def test_an_older_directory_states_why_there_is_no_test(write_run, context_of, page_of):
    workdir = write_run(NO_METRICS)
    content = context_of(workdir)["sections"]["differences"].content
    assert content["headline"] is None and content["left_out"] == {"Student": OLD}
    assert f"Not compared image by image. Student: {OLD}." in page_of(workdir).said()


def test_one_model_without_outcomes_is_left_out(write_run, write_outcomes, context_of, rows):
    context = context_of(write_outcomes(write_run(NO_METRICS), without=["baseline_plain"]))
    assert [row["Model"] for row in rows(context, "differences_8_255")] == [ALONE]
    assert context["sections"]["differences"].content["left_out"] == {PLAIN: OLD}


def test_outcomes_that_do_not_fit_the_figures_are_left_out(workdir, context_of, evaluation, rows):
    evaluation["models"]["baseline_plain"]["pgd_100"]["accuracy"] = 0.5  # of another evaluation
    (workdir / "evaluation.json").write_text(json.dumps(evaluation))
    context = context_of(workdir)
    assert [row["Model"] for row in rows(context, "differences_8_255")] == [ALONE]
    assert [row["Model"] for row in rows(context, "differences_clean")] == [ALONE, PLAIN]
    reason = "the outcomes that were kept are not those of its accuracy under PGD-100"
    assert context["sections"]["differences"].content["left_out"] == {PLAIN: reason}


def test_other_images_are_left_out(workdir, context_of):
    path = workdir / "evaluation" / "baseline_plain.npz"
    kept = Outcomes.read(path)
    Outcomes(kept.ids + 1, kept.labels, kept.right).write(path)
    (reason,) = context_of(workdir)["sections"]["differences"].content["left_out"].values()
    assert reason.startswith("it and the reference were judged on other images: 360 and 360 images, 359 ids in common")


def test_a_broken_file_is_named(workdir):
    (workdir / "evaluation" / "student.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"student\.npz cannot be read"):
        write_report(workdir)


def test_without_baselines_there_is_nothing_to_test(write_run, write_outcomes, context_of, evaluation):
    models = {name: evaluation["models"][name] for name in ("student", "teacher")}
    workdir = write_outcomes(write_run(NO_METRICS, evaluation=evaluation | {"models": models}))
    assert "differences" not in context_of(workdir)["sections"]


def test_auto_attack_is_tested_where_all_were_put_to_it(write_cells, write_outcomes, cell_evaluation, context_of):
    """The fixtures have AutoAttack of 200 of 360 images, whose outcomes are not on all of them."""
    captions = []
    for count in (200, 360):
        for scores in cell_evaluation["models"].values():
            scores["auto_attack"]["count"] = count
        workdir = write_outcomes(write_cells(f"of_{count}", metrics=[], evaluation=cell_evaluation))
        captions.append(context_of(workdir)["sections"]["differences"].content["headline"].caption)
    assert captions == ["PGD-100, \u03b5 = 8/255", "AutoAttack, \u03b5 = 8/255"]


def test_auto_attack_of_the_suite_joins_its_outcomes(workdir, write_attack):
    folder = write_attack()
    ids, labels = np.arange(360) + 7, np.arange(360) % 10
    with np.load(folder / "examples.npz") as stored:
        columns = dict(stored)
    fooled = columns["adversarial_prediction"] != columns["clean_prediction"]
    columns |= {"id": ids, "label": labels, "fooled_by": np.where(fooled, "apgd_ce", "")}
    columns["clean_correct"] = columns["clean_prediction"] == columns["label"]
    np.savez(folder / "examples.npz", **columns)
    results = read_results(read_workdir(workdir))
    right = results.outcomes["student"].right["auto_attack@8/255"]
    assert right.sum() == 200 == round(360 * results.headline("student", "auto_attack").accuracy)
    np.savez(folder / "examples.npz", **(columns | {"id": ids + 1}))
    assert "auto_attack@8/255" not in read_results(read_workdir(workdir)).outcomes["student"].right


# -- beside other runs -----------------------------------------------------------------------------------


@pytest.fixture
def cells(write_cells, write_outcomes, cell_evaluation):
    """`cells(name, accuracy)`: a run whose network keeps this accuracy under PGD-100."""

    def make(name, accuracy=0.5125, **changed):
        cell_evaluation["models"]["student"]["pgd_100"]["accuracy"] = accuracy
        return write_outcomes(write_cells(name, metrics=[], evaluation=cell_evaluation), noise=0.05, **changed)

    return make


def test_runs_are_tested_against_the_first(cells, context_of, rows, page_of):
    first, better, alike = cells("first"), cells("better", 0.6), cells("alike", 0.5025)
    context = context_of(first, better, alike)
    found = {row["Model"]: row for row in rows(context, "runs_differences_8_255")}
    tests = [mcnemar(outcomes(run, "student"), outcomes(first, "student")).p_value for run in (better, alike)]
    table = context["sections"]["beside"].content["differences"]["headline"]
    assert [row[-1].value for row in table.rows] == pytest.approx(holm(tests))
    assert list(found) == ["better", "alike"] and found["better"]["Difference"] == "+8.9"  # 216 - 184 of 360
    assert "minus that of first, on the same 360" in page_of(first, better, alike).said()


def test_runs_on_other_images_are_not_tested(cells, context_of):
    """The data have one hash, the counts agree, and still the images stand in another order."""
    first, other = cells("first"), cells("other", ids=np.arange(360)[::-1])
    content = context_of(first, other)["sections"]["beside"].content
    assert content["differences"]["headline"] is None
    assert "judged on other images" in content["differences"]["left_out"]["other"]


def test_runs_that_cannot_be_compared_are_not_tested(write_cells, cells, cell_evaluation, context_of):
    elsewhere = cell_evaluation | {"dataset": {"name": "svhn_cropped/3.1.0"}}
    other = write_cells("other", metrics=[], evaluation=elsewhere)
    content = context_of(cells("first"), other)["sections"]["beside"].content
    assert content["obstacles"] and content["differences"] is None


# -- over seeds ------------------------------------------------------------------------------------------


@pytest.fixture
def seeds(cells, tmp_path, cell_config):
    """Three seeds of a run, in `seed_2`, `seed_9` and `seed_10`."""
    for seed, accuracy in ((10, 0.55), (2, 0.5125), (9, 0.49)):
        cells(f"seed_{seed}", accuracy)
        (tmp_path / f"seed_{seed}" / "config.json").write_text(json.dumps(cell_config | {"seed": seed}))
    return tmp_path


def test_seeds_have_one_page(seeds, read_page):
    path = write_seeds_page(f"{seeds}/seed_*")
    assert path == seeds / "seeds.html"
    said = read_page(path).said()
    assert "3 runs with seeds 2, 9, 10, judged" in said and "More than the seed differs" not in said
    # 51.25, 49 and 55: mean 51.75, deviation 3.03.
    assert "Over 3 seeds the network keeps 49.3 % (\u00b1 0.0) accuracy under AutoAttack at \u03b5 = 8/255" in said
    assert "51.8\u00b1 3.0, 49.0\u201355.0" in said
    assert "Interval and p-value are about new seeds and new images" in said
    before = path.read_bytes()
    assert write_seeds_page(f"{seeds}/seed_*").read_bytes() == before
    tables = {file.name for file in (seeds / "seeds" / "tables").iterdir()}
    names = ("accuracy_8_255", "accuracy_2_255", "differences_8_255", "differences_clean", "runs")
    assert tables >= {f"{name}.{suffix}" for name in names for suffix in ("csv", "tex")}


def test_differences_over_seeds_are_those_of_the_statistics(seeds):
    write_seeds_page(f"{seeds}/seed_*")
    written = (seeds / "seeds" / "tables" / "differences_8_255.csv").read_text().splitlines()
    head, *lines = (line.split(",") for line in written)
    rows = {line[0]: dict(zip(head, line, strict=False)) for line in lines if not line[0].startswith('"')}
    folders = [seeds / f"seed_{seed}" for seed in (2, 9, 10)]
    first, second = (np.stack([outcomes(one, name) for one in folders]) for name in ("baseline_advrush", "student"))
    expected = over_seeds(first, second)
    row = rows["AdvRush network"]
    assert float(row["Difference"]) == pytest.approx(100 * expected.difference)
    assert row["Same sign"] == ("yes" if expected.same_sign else "no") == "no"
    assert expected.seeds == 3
    low, high = expected.bootstrap
    assert plain(row["Bootstrap"]) == f"{100 * low:+.1f} to {100 * high:+.1f}"


def test_what_else_differs_between_seeds_is_named(seeds, cell_config, read_page):
    other = cell_config | {"seed": 9, "search": cell_config["search"] | {"epochs": 5}}
    (seeds / "seed_9" / "config.json").write_text(json.dumps(other))
    assert "More than the seed differs. search.epochs" in read_page(write_seeds_page(f"{seeds}/seed_*")).said()


def test_seeds_without_outcomes_have_their_spread(seeds, read_page):
    (seeds / "seed_9" / "evaluation" / "student.npz").unlink()
    said = read_page(write_seeds_page(f"{seeds}/seed_*")).said()
    assert "51.8\u00b1 3.0" in said and f"Searched network: {OLD}." in said


def test_seeds_that_are_none_are_refused(seeds, cell_config):
    with pytest.raises(ValueError, match=r"--seeds=.*seed_1\*: expected two work directories or more, found .*seed_10"):
        write_seeds_page(f"{seeds}/seed_1*")
    (seeds / "seed_9" / "config.json").write_text(json.dumps(cell_config | {"seed": 2}))
    with pytest.raises(ValueError, match="seed_2 and seed_9 have the same seed, 2: they are one sample"):
        write_seeds_page(f"{seeds}/seed_*")
    for seed in (9, 10):
        (seeds / f"seed_{seed}" / "evaluation.json").unlink()
    with pytest.raises(ValueError, match="fewer than two runs can be compared: seed_9: not evaluated yet; seed_10"):
        write_seeds_page(f"{seeds}/seed_*")


def test_a_family_stands_at_one_radius(workdir):
    found = differences.baseline_families(read_results(read_workdir(workdir)))
    assert [(one.attack, one.epsilon and round(255 * one.epsilon)) for one in found] == [
        ("pgd_100", 8), ("pgd_100", 2), ("clean", None),
    ]  # fmt: skip
    assert all(one.epsilon is None for one in found if one.attack == "clean")

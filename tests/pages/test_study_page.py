"""The page of a study: sentences that its figures bear out, tables, plots, and how the search of every seed decided."""

import dataclasses
from html import escape
import json

import numpy as np
import pytest

from rnas.artifacts.search_history import SearchHistory, write_epoch
from rnas.artifacts.study_results import FILE, StudyArm, StudyComparison, StudyResults, seed_folder
from rnas.pages import curves, decisions, study_page, write_report, write_study_page
from rnas.pages.findings import findings
from rnas.pages.study_page import study_context
from rnas.pages.summary import study_summary

SEEDS = (0, 3, 4)
HEADLINE, SMALL, AUTO = "pgd_100@0.1", "pgd_100@0.05", "auto_attack@0.1"
ARMS = {  # name -> kind, label, clean accuracy, accuracy under PGD-100 at the headline
    "student": ("student", "Student", 0.98, 0.70),
    "baseline_plain": ("plain", "Baseline, plain training", 0.985, 0.02),
    "baseline_no_distillation": ("no_distillation", "Baseline, no distillation", 0.98, 0.69),
    "baseline_kl_only+none": ("ablation", "Baseline, KL only, no attack", 0.97, 0.05),
    "teacher": ("teacher", "Teacher", 0.99, 0.75),
}
OPEN = {"difference": 0.012, "interval": (-0.03, 0.054), "p_adjusted": 0.41}
WORSE = {"difference": -0.08, "interval": (-0.12, -0.04), "p_adjusted": 0.03}


def arm(name, kind, label, clean, robust, seeds=SEEDS):
    spread = 0.01 * (np.arange(len(seeds)) - (len(seeds) - 1) / 2)

    def of_seeds(mean):
        return tuple((mean + spread).round(6).tolist())

    accuracies = {"clean": clean, HEADLINE: robust, SMALL: (clean + robust) / 2, AUTO: robust - 0.01}
    curve = {"0": clean, "0.05": (clean + robust) / 2, "0.1": robust, "0.2": robust / 2}
    params = tuple(18_930 + 100 * place for place in range(len(seeds)))
    return StudyArm(
        name,
        kind,
        label,
        params,
        params,
        {what: of_seeds(mean) for what, mean in accuracies.items()},
        {at: of_seeds(mean) for at, mean in curve.items()},
    )


def compared(first, second, measurement=HEADLINE, **changed):
    """A comparison; without more the first arm keeps 55 points more, in every seed."""
    shown = {"difference": 0.55, "interval": (0.51, 0.5944), "bootstrap": (0.52, 0.58), "p_adjusted": 0.0002}
    counted = {"same_sign": True, "first_only": 0.6, "second_only": 0.05, "images": 360, "seeds": len(SEEDS)}
    fields = {**shown, **counted, "method": "crossed effects", **changed}
    return StudyComparison(first, second, measurement, p_value=fields["p_adjusted"] / 2, **fields)


def results_of(*comparisons, seeds=SEEDS, arms=ARMS, headline=HEADLINE):
    return StudyResults(
        seeds=seeds,
        images=360,
        dataset={"name": "digits/1.0.0", "sha256": "beef"},
        epsilons=("0.1", "0.05"),
        training_epsilon=0.15,
        headline=headline,
        detectable=0.057,
        arms=tuple(arm(name, *given, seeds) for name, given in arms.items()),
        comparisons=comparisons,
        versions={"jax": "0.10.2"},
        precision="float32, highest",
    )


STUDY = results_of(
    compared("baseline_kl_only+none", "baseline_plain"),
    compared("student", "baseline_no_distillation", **OPEN),
    compared("student", "baseline_no_distillation", SMALL, difference=0.5),
    compared("student", "baseline_no_distillation", "clean", **WORSE),
)


def said(*comparisons, **given):
    *sentences, setting = (sentence.replace("\u202f", " ") for sentence in findings(results_of(*comparisons, **given)))
    assert "accuracy under PGD-100 at \u03b5 = 0.1 on 360 test images" in setting
    return sentences


# -- sentences -----------------------------------------------------------------------------------------------


def test_a_difference_that_is_shown():
    assert said(compared("baseline_kl_only+none", "baseline_plain")) == [
        "\u201cKL only, no attack\u201d keeps 55.0 points more than \u201cPlain training\u201d "
        "(+51.0 to +59.4, p < .01, in every seed)."
    ]
    (sentence,) = said(compared("student", "teacher", **WORSE, same_sign=False))
    assert sentence == (
        "\u201cStudent\u201d keeps 8.0 points less than \u201cTeacher\u201d "
        "(\u221212.0 to \u22124.0, p < .05, but not in every seed)."
    )


def test_what_could_not_be_told_and_what_could_have_been_shown():
    assert said(compared("student", "baseline_no_distillation", **OPEN)) == [
        "Whether \u201cStudent\u201d keeps more than \u201cNo distillation\u201d could not be told: +1.2 points "
        "(\u22123.0 to +5.4, p = .41), where less than 4.2 could not have been shown."
    ]
    (sentence,) = said(compared("student", "teacher", **OPEN | {"p_adjusted": 0.05}))
    assert "could not be told" in sentence and "p = .05, before correction p < .05)" in sentence
    (sentence,) = said(compared("student", "teacher", **OPEN | {"p_adjusted": 1.0}))
    assert "p = 1.00)" in sentence


def test_one_seed_holds_for_its_models_alone():
    first, sentence, setting = findings(results_of(compared("student", "baseline_plain", seeds=1), seeds=(0,)))
    assert first == "There is one seed: what follows holds for these trained models alone."
    assert sentence.endswith("p\u202f<\u202f.01).") and "seed" not in sentence + setting


def test_what_speaks_against_the_student_comes_first():
    sentences = said(
        compared("baseline_kl_only+none", "baseline_plain", difference=0.9),
        compared("baseline_kl_only+none", "teacher", **WORSE),
        compared("baseline_plain", "teacher", **OPEN),
        compared("baseline_plain", "student", **WORSE),  # speaks for the student
        compared("student", "baseline_no_distillation", **OPEN),
        compared("student", "teacher", **WORSE),
    )
    first_arms = [sentence.split("\u201d")[0].split("\u201c")[1] for sentence in sentences]
    assert first_arms == ["Student", "Student", "Plain training", *["KL only, no attack"] * 2, "Plain training"]
    assert "keeps 8.0 points less than \u201cTeacher\u201d" in sentences[0]
    assert "could not be told" in sentences[1] and "could not be told" in sentences[5]


def test_many_comparisons_without_the_student_are_counted():
    pair = ("baseline_kl_only+none", "baseline_plain")
    larger = [compared(*pair, difference=size) for size in (0.1, 0.2, 0.3, 0.4)]
    smaller = [compared(*pair, difference=-size) for size in (0.1, 0.2, 0.3)]
    unclear = [compared(*pair, **OPEN), compared(*pair, **OPEN | {"difference": -0.02, "interval": (-0.03, 0.01)})]
    sentences = said(*larger, *smaller, *unclear)
    assert "keeps 40.0 points more" in sentences[0] and "keeps 30.0 points more" in sentences[1]
    assert [sentence for sentence in sentences if "\u201c" not in sentence] == [
        "2 other comparisons show the arm above its reference, by 10.0 to 20.0 points.",
        "1 other comparison shows the arm below its reference, by 10.0 points.",
        "2 other comparisons could not be told (\u22122.0 to +1.2 points, where less than 2.0 to 4.2 could not have "
        "been shown).",
    ]
    assert len(said(*larger, *unclear)) == 6  # so few are all named
    assert len(said(*[compared("student", "teacher", **OPEN)] * 9)) == 9  # as all of the student are


def test_only_the_headline_is_told():
    assert findings(results_of(compared("student", "teacher", SMALL))) == []
    sentences = findings(results_of(compared("student", "teacher", AUTO, images=100), headline=AUTO))
    assert "accuracy under AutoAttack at \u03b5 = 0.1 on 100 test images" in sentences[-1]


# -- the page ------------------------------------------------------------------------------------------------


def history(epochs=(0, 1, 2, 4, 6, 8, 15)):
    """Three student layers that come to follow the second, the first and the third of four teacher layers."""
    drift = np.zeros((3, 4))
    drift[[0, 1, 2], [1, 0, 2]] = 0.5
    tutors = np.exp(np.array(epochs, float)[:, None, None] * drift)
    widths = np.exp(np.array(epochs, float)[:, None] * np.array([0.4, 0.0]))
    return SearchHistory(
        np.array(epochs),
        tutors / tutors.sum(-1, keepdims=True),
        (widths / widths.sum(-1, keepdims=True), np.ones((len(epochs), 1))),
    )


def write_history(folder):
    found = history()
    for number, epoch in enumerate(found.epochs):
        widths = {f"width_{block}": of[number] for block, of in enumerate(found.widths)}
        write_epoch(folder, "search", int(epoch), {"tutors": found.tutors[number], **widths})


def write_study(workdir, architecture, evaluation, results=STUDY):
    results.write(workdir / FILE)
    for seed in results.seeds:
        folder = workdir / seed_folder(seed)
        write_history(folder)
        tutors = [*architecture["tutors"][:-1], architecture["teacher_taps"][seed % 2]]  # the last one is uncertain
        (folder / "architecture.json").write_text(json.dumps({**architecture, "tutors": tutors}))
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        (folder / "report.html").touch()
    return workdir


@pytest.fixture
def study(tmp_path, architecture, evaluation):
    return write_study(tmp_path, architecture, evaluation)


def test_the_sections_and_their_order(study, undrawn):
    context = study_context(study)
    assert context["title"] == "What 5 arms keep under PGD-100 at \u03b5 = 0.1, over 3 seeds"
    assert list(context["sections"]) == ["arms", "differences", "robustness", "search", "setting"]
    assert context["lead"].startswith("Whether \u201cStudent\u201d keeps more than \u201cNo distillation\u201d")


def test_the_table_of_arms(study, undrawn, rows):
    table = rows(study_context(study), "arms")
    assert [row["Arm"] for row in table] == [
        "Student", "Plain training", "No distillation", "KL only, no attack", "Teacher",
    ]  # fmt: skip
    assert table[0] == {
        "Arm": "Student",
        "Parameters": "19,030",
        "Clean": "98.0",
        "PGD-100, \u03b5 = 0.05": "84.0",
        "PGD-100, \u03b5 = 0.1": "70.0",
        "AutoAttack, \u03b5 = 0.1": "69.0",
    }
    fewer = results_of(compared("student", "teacher", AUTO, images=100))
    columns = study_page._arm_table(fewer, {name: name for name in ARMS}).columns
    assert columns[-1].below == "\u03b5 = 0.1, 100 images"
    cells = study_context(study)["sections"]["arms"].content.rows[0]
    assert [cell.below for cell in cells[1:4]] == ["18,930\u201319,130", "97.0\u201399.0", "83.0\u201385.0"]


def test_the_tables_of_comparisons(study, undrawn, rows):
    context = study_context(study)
    folds = context["sections"]["differences"].content["tables"]
    assert [(fold.title, fold.unfolded) for fold in folds] == [
        ("PGD-100 at \u03b5 = 0.1", True), ("PGD-100 at \u03b5 = 0.05", False), ("Without attack", False),
    ]  # fmt: skip
    first, second = rows(context, "comparisons_pgd_100_0.1")
    assert first == {
        "Arm": "KL only, no attack",
        "Reference": "Plain training",
        "Difference": "+55.0",
        "Bootstrap": "+52.0 to +58.0",
        "p": "0.0001",
        "p, Holm": "0.0002",
        "Same sign": "yes",
        "Right alone": "60.0",
        "Reference right alone": "5.0",
    }
    cells = [row[2] for row in folds[0].content.rows]
    assert [cell.kind for cell in cells] == ["strong", ""] and cells[1].below == "\u22123.0 to +5.4"
    assert second["p, Holm"] == "0.410"


def test_the_page_and_its_files(study, read_page):
    path = write_study_page(study)
    page = read_page(path)
    assert path == study / "study.html" and len(page.all("img")) == 4
    links = {link["href"] for link in page.all("a")}
    assert {f"seed_{seed}/report.html" for seed in SEEDS} <= links
    files = {str(file.relative_to(study)) for file in (study / "study").glob("*/*")}
    assert links - {f"seed_{seed}/report.html" for seed in SEEDS} == files | {
        f"#{anchor}" for anchor in ("arms", "differences", "robustness", "search", "setting")
    }
    assert {name for name in files if name.endswith(".svg")} == {
        f"study/figures/{name}.svg" for name in ("differences", "robustness", "tutor_history", "undecided")
    }
    words = page.said()
    assert "12 of 13 student layers end with the same tutor in all 3 seeds." in words
    assert "Accuracy under PGD-20 (step \u03b5/10) as the ball grows" in words
    assert "crossed effects: what new seeds on new images would show" in words
    before = path.read_bytes()
    assert write_study_page(study).read_bytes() == before


def test_a_notebook_shows_arms_and_differences(study, undrawn, rows):
    html = study_summary(study)
    context = study_context(study)
    assert escape(context["lead"], quote=False) in html and "href" not in html
    assert html.count("<table") == html.count("<img") == 1
    assert html.count('<th scope="row">') == len(rows(context, "arms")) == 5


@pytest.mark.slow
@pytest.mark.parametrize("arms", [5, 25])
def test_the_page_in_a_browser(tmp_path_factory, architecture, evaluation, check_page, arms):
    more = {f"baseline_{n}": ("ablation", f"Baseline, random tutors {n}, no attack", 0.9, 0.3) for n in range(arms - 5)}
    rows = [compared("student", name, **OPEN) for name in more]
    study = dataclasses.replace(results_of(*STUDY.comparisons, *rows, arms=ARMS | more))
    folder = tmp_path_factory.mktemp("study")
    check_page(write_study_page(write_study(folder, architecture, evaluation, study)))


def test_a_study_of_one_seed_whose_run_left_nothing(tmp_path, read_page):
    results_of(compared("student", "teacher", seeds=1), seeds=(0,)).write(tmp_path / FILE)
    page = read_page(write_study_page(tmp_path))
    assert "There is one seed" in page.said() and "search" not in {link["href"][1:] for link in page.all("a")}
    assert not any("report.html" in link["href"] for link in page.all("a"))


def test_a_directory_without_a_study(tmp_path):
    with pytest.raises(FileNotFoundError, match="study.json"):
        write_study_page(tmp_path)


# -- figures -------------------------------------------------------------------------------------------------


def test_open_differences_are_grey(painted):
    names = {name: name for name in ARMS}
    axes = painted(study_page, study_page._plot_forest, STUDY, names).axes[0]
    shown, unclear = (line for line in axes.lines[1:] if len(line.get_xdata()) == 2)
    assert shown.get_color() != unclear.get_color() == study_page.QUIET
    np.testing.assert_allclose(unclear.get_xdata(), [-3, 5.4])
    words = [text.get_text().replace("\u202f", " ") for text in axes.texts]
    assert "shown, p < .01" in words and "open, p = .41" in words


def test_of_many_arms_those_are_coloured_that_are_compared_most(painted):
    more = {f"baseline_{n}": ("ablation", f"Baseline {n}", 0.9, 0.3) for n in range(20)}
    study = results_of(*[compared("baseline_7", f"baseline_{n}") for n in range(3)], arms=ARMS | more)
    figure = painted(curves, curves.plot_arms, study, {arm.name: arm.name for arm in study.arms})
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(named) == 9 and named[-1] == "17 other arms"
    assert {"student", "teacher", "baseline_plain", "baseline_no_distillation", "baseline_7"} < set(named)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "student")
    np.testing.assert_allclose(line.get_ydata(), [98, 84, 70, 35])
    assert [text.get_text() for text in figure.axes[0].texts] == ["\u03b5 = 0.1", "trained at 0.15"]


def test_the_maps_show_first_and_last_epoch_on_one_scale(painted):
    panels = painted(decisions, decisions._plot_maps, history(), None).axes[:-1]
    assert [panel.get_title(loc="left") for panel in panels] == [f"epoch {n}" for n in (0, 1, 2, 6, 8, 15)]
    assert len({panel.images[0].get_clim() for panel in panels}) == 1
    short = painted(decisions, decisions._plot_maps, history((0, 1)), None).axes
    assert len(short) == 3  # two maps and the scale


def test_undecided_falls_from_uniform(painted):
    axes = painted(decisions, decisions._plot_undecided, {"a": history(), "b": history()}).axes[0]
    assert len(axes.lines) == 4
    tutors, widths = axes.lines[0].get_ydata(), axes.lines[2].get_ydata()
    assert tutors[0] == pytest.approx(1) and widths[0] == pytest.approx(1)  # a block with one width is no choice
    assert np.all(np.diff(tutors) < 0) and tutors[-1] < 0.05


def test_a_search_without_a_record():
    for nothing in (None, history((0,))):
        assert decisions.decisions({"seed 0": nothing}, {"seed 0": None}) is None


def test_the_page_of_a_run_shows_its_search_too(write_run, undrawn, read_page, context_of):
    folder = write_run(("metrics.jsonl",))
    assert "decisions" not in context_of(folder)["sections"]
    write_history(folder)
    content = context_of(folder)["sections"]["decisions"].content
    assert content["maps"].name == "tutor_history" and content["undecided"].name == "undecided"
    assert "(row); one scale for all epochs." in read_page(write_report(folder)).said()


def test_corruptions_stand_beside_the_attacks_where_they_were_measured():
    student, *others = STUDY.arms
    measured = dataclasses.replace(student, corruptions=(0.6, 0.62, 0.7))
    names = {name: name for name in ARMS}
    table = study_page._arm_table(dataclasses.replace(STUDY, arms=(measured, *others)), names)
    assert table.columns[-1].text == "Corruptions"
    rows = {row[0].text: row[-1] for row in table.rows}
    assert (rows["student"].text, rows["student"].below) == ("64.0", "60.0\u201370.0")
    assert rows["baseline_plain"].text == ""
    assert study_page._arm_table(STUDY, names).columns[-1].text != "Corruptions"

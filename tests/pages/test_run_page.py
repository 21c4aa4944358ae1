"""The page of a run holds what the files hold, correctly rounded, and names what is missing."""

import base64
import io
import json
import re
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from rnas.pages import write_report
from rnas.spaces.nasbench201 import OPERATIONS

# Metrics are read by few tests; the others do without.
NO_METRICS = ("metrics.jsonl",)
NARROW = "\u202f"


def plain(text):
    return text.replace(NARROW, " ")


@pytest.fixture
def said_of(page_of, write_cells):
    """`said_of(without=(), **changed)`: the visible text of the page of a search for cells."""
    return lambda without=(), **changed: page_of(write_cells("run", without, [], **changed)).said()


# -- the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "count"),
    [
        ("finished", 1 + 1 + 1 + 5 + 3),  # robustness, network, tutors, stages, images
        ("searched", 1 + 3 + 1 + 3 + 3 + 3),  # robustness, cells, network, random cells, choices, stages
    ],
)
def test_a_page_and_its_files(read_page, request, run, count):
    path = request.getfixturevalue(run)
    page, folder = read_page(path), path.parent / "report"
    images = page.all("img")
    assert len(images) == count and all(image["alt"] for image in images)
    saved = {file.read_bytes() for file in (folder / "figures").iterdir()}
    assert {base64.b64decode(image["src"].split(",")[1]) for image in images} <= saved
    for png in (folder / "figures").glob("*.png"):
        assert np.asarray(Image.open(png).convert("L")).std() > 1  # not blank
    for svg in (folder / "figures").glob("*.svg"):
        assert svg.read_text().count("<path") + svg.read_text().count("<rect") > 10
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {link["href"] for link in page.all("a")}
    assert {link for link in links if link.startswith("#")} == {f"#{anchor}" for anchor in anchors}
    files = {str(file.relative_to(path.parent)) for file in folder.glob("*/*") if "adversarial_" not in file.name}
    assert {link for link in links if not link.startswith("#")} == files


@pytest.mark.slow
@pytest.mark.parametrize("run", ["finished", "searched"])
def test_the_page_in_a_browser(check_page, request, run):
    check_page(request.getfixturevalue(run))


def test_same_bytes_again_whatever_the_style_of_other_plots(finished):
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 7.0, "font.size": 20.0, "savefig.dpi": 50}):
        before = finished.read_bytes()
        assert write_report(finished.parent).read_bytes() == before
        kept = [matplotlib.rcParams[key] for key in ("lines.linewidth", "font.size", "savefig.dpi")]
        assert kept == [7.0, 20.0, 50]


def test_importing_the_pages_loads_no_plotting_library():
    loaded = "import sys, rnas.pages; sys.exit(bool({'matplotlib', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0


def test_text_is_escaped(read_page, finished):
    page = read_page(finished)
    assert "--workdir='a<b>'" in page.said() and "a <b>bold</b> & risky one" in page.said()
    assert "a &lt;b&gt;bold" in finished.read_text(encoding="utf-8")


# -- a student and its teacher -------------------------------------------------------------------------------


def test_headline_beside_its_comparisons(context_of, write_run):
    context = context_of(write_run(NO_METRICS))
    title = f"A student of 18,930 parameters keeps 61.3{NARROW}% accuracy under PGD-100 at \u03b5 = 8/255"
    assert context["title"] == title and context["eyebrow"] == "rnas \u00b7 digits \u00b7 space tiny"
    tiles = {
        tile.title: (plain(tile.figure), {k: plain(v) for k, v in tile.beside.items()}) for tile in context["tiles"]
    }
    assert tiles == {
        "Parameters": ("18,930", {"plain baseline": "18,930", "teacher": "78,330"}),
        "MACs per image": ("123 k", {"plain baseline": "123 k", "teacher": "4.20 M"}),
        "Clean accuracy": ("91.3 %", {"plain baseline": "97.5 %", "teacher": "95.0 %"}),
        "PGD-100, \u03b5 = 8/255": ("61.3 %", {"plain baseline": "2.5 %", "teacher": "70.0 %"}),
    }
    assert context["lead"]["kept"] == {"plain": 0.025, "no_distillation": 0.6, "teacher": 0.7}
    assert context["warnings"] == [] and context["missing"] == {}


def test_accuracy_table_has_every_model_and_radius(context_of, write_run, rows):
    context = context_of(write_run(NO_METRICS))
    main, small = rows(context, "accuracy_8_255"), rows(context, "accuracy_2_255")
    names = ["Student", "Teacher", "Baseline, no distillation", "Baseline, plain training"]
    assert [row["Model"] for row in main] == [row["Model"] for row in small] == names
    columns = [
        "FGSM",
        "MI-FGSM-20 (step \u03b5/10)",
        "PGD-20 (step \u03b5/10)",
        "PGD-20 (step \u03b5/4)",
        "CW-20",
        "PGD-100",
    ]
    assert main[0] == {
        "Model": "Student", "Parameters": "18,930", "MACs": "123 k", "Clean": "91.3", **dict.fromkeys(columns, "61.3"),
    }  # fmt: skip
    assert [small[0][column] for column in columns] == ["85.0"] * 6  # 0.9125 and 0.6125 above: halves rounded up
    table = context["sections"]["results"].content["tables"][0]
    assert table.rows[0][3].below == "86.3\u201396.3"  # 0.8625 to 0.9625
    assert plain(table.note) == "accuracy in %, below it the 95 % Wilson interval"


def test_the_baselines_are_explained(page_of, read_page, finished, write_run, evaluation):
    said = read_page(finished).said()
    assert "without the teacher: the difference to the student is the contribution of the teacher. The plain" in said
    assert (
        "without adversarial images and the teacher: the difference to the baseline without distillation is the "
        "contribution of adversarial training." in said
    )
    assert "Under the same attack the same network with plain training keeps 2.5 %" in said
    assert "and the teacher keeps 70.0 %." in said
    del evaluation["models"]["baseline_no_distillation"]
    method = evaluation["models"]["baseline_plain"] | {"kind": "method", "label": "Baseline, ARD"}
    evaluation["models"]["baseline_ard"] = method
    said = page_of(write_run(NO_METRICS, evaluation=evaluation)).said()
    assert "the difference to the student is the contribution of both." in said
    assert "Baseline, ARD" in said and "trained by this method alone" in said
    assert "without distillation is" not in said and "Random networks have" not in said


def test_a_name_tells_nothing_of_a_model(context_of, write_run, evaluation, rows):
    """A baseline of a method nobody has heard of keeps its label, and is no published network."""
    new = evaluation["models"]["baseline_plain"] | {"kind": "method", "label": "Baseline, Brand New"}
    evaluation["models"]["baseline_advrush"] = new
    context = context_of(write_run(NO_METRICS, evaluation=evaluation))
    assert "Baseline, Brand New" in [row["Model"] for row in rows(context, "accuracy_8_255")]
    assert context["sections"]["results"].content["kinds"] == {
        "student", "teacher", "no_distillation", "plain", "method",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        (0.6, "differs from the student by \u22121.4 points (p = 0.062): on these images it is not established"),
        (0.65, "differs from the student by +3.6 points (p = 0.0002): on these images it is not"),
        (0.5, None),
    ],
)
def test_a_difference_that_may_be_chance_is_admitted(page_of, write_run, write_outcomes, evaluation, accuracy, words):
    evaluation["models"]["baseline_no_distillation"]["pgd_100"]["accuracy"] = accuracy
    said = page_of(write_outcomes(write_run(NO_METRICS, evaluation=evaluation))).said()
    assert words in said if words else "that the teacher helps" not in said


def test_protocol_and_run(context_of, read_page, finished, write_run, rows):
    said = read_page(finished).said()
    for words in (
        "L\u221e ball of radius \u03b5",
        "PGD is no proof",
        "Published figures may be in another unit",
        "by 180 held-out training images",
        "training 3, evaluation 7",
        "2 \u00d7 cpu",
        "jax 0.10.2",
        "f00d",
        "beef",
    ):
        assert words in said
    assert "Missing stages" not in said and "AutoAttack is the figure to quote" not in said
    context = context_of(write_run(NO_METRICS))
    stages = {row["Stage"]: row for row in rows(context, "stages")}
    facts = {"Stage": "train", "Status": "complete", "Starts": "1", "Wall time": "1 min 02 s", "of it compiling": ""}
    assert stages["train"] == facts
    assert stages["total"]["Wall time"] == "7 min 11 s"  # seven stages of 61.6 seconds
    attacks = rows(context, "attacks")
    assert len(attacks) == 2 * 6
    assert attacks[5] == {
        "Attack": "PGD-100", "\u03b5": "8/255", "Step": "2/255", "Steps": "100", "Restarts": "1", "Start": "uniform",
        "Loss": "ce then margin", "Images": "360",
    }  # fmt: skip
    assert [row["Step"] for row in attacks[1:4]] == ["0.8/255", "0.8/255", "2/255"]
    blocks = rows(context, "blocks")
    assert blocks[0]["Channels kept"] == "12 of 16" and blocks[0]["Probability of each width"] == "16: 0.25, 12: 0.75"
    tutors = rows(context, "tutors")
    assert tutors[1] == {"Student layer": "block0.expand", "Tutor": "conv1", "Probability": "0.500"}
    assert {"Key": "data.held_out", "Value": "180"} in rows(context, "config")


def test_nothing_held_out_is_a_warning(context_of, page_of, write_run):
    workdir = write_run(NO_METRICS, config={"data": {"held_out": 0}})
    (warning,) = context_of(workdir)["warnings"]
    assert warning.startswith("No model was chosen on held-out images")
    assert "Read with care." in page_of(workdir).said()


def test_a_student_at_chance_is_called_so(context_of, page_of, write_run, evaluation):
    evaluation["models"]["student"]["clean"] = {"accuracy": 0.09, "count": 360, "interval": [0.06, 0.12]}
    workdir = write_run(NO_METRICS, evaluation=evaluation, config={"data": {"num_classes": 10}})
    context = context_of(workdir)
    assert context["title"].endswith("parameters is at chance: 9.0\u202f% without attack")
    assert context["warnings"][0].startswith("The student is no better than guessing one of 10 classes")
    assert "|" not in page_of(workdir).said(), "the rest of a caution is folded"


def test_the_page_itself_is_no_unfinished_stage(context_of, write_run, record, rows):
    run = record(**dict.fromkeys(("teacher", "evaluate"), "complete"), report="running")
    stages = [row["Stage"] for row in rows(context_of(write_run(NO_METRICS, run=run)), "stages")]
    assert "report" not in stages and stages[-1] == "total"


def test_nothing_is_cut_on_paper(finished):
    """Chromium opens `details` for a printer by this style alone: a page has no script."""
    html = finished.read_text(encoding="utf-8")
    style = re.sub(r"\s+", " ", html.partition("@media print {")[2].partition("</style>")[0])
    assert "details::details-content { content-visibility: visible; display: block; height: auto; }" in style
    assert ".scroll, .plot { overflow: visible; background: none; }" in style
    assert ".plot img, .plot.fit img, .plot.wide img { min-width: 0; max-width: 100%;" in style


def test_verdicts_of_images(context_of, write_run, evaluation):
    evaluation["dataset"]["class_names"] = ["zero", "one", "two", "three", "four", "five"]
    content = context_of(write_run(NO_METRICS, evaluation=evaluation))["sections"]["images"].content
    assert [(example.classes, example.verdict.text) for example in content["gallery"].examples] == [
        ("label four \u00b7 clean four \u00b7 adversarial four", "correct"),
        ("label five \u00b7 clean five \u00b7 adversarial 9", "fooled"),
        ("label 6 \u00b7 clean one \u00b7 adversarial one", "wrong without attack"),
    ]


def test_difference_of_epsilon_is_full_contrast(context_of, write_run):
    gallery = context_of(write_run(NO_METRICS))["sections"]["images"].content["gallery"]
    strip = np.asarray(Image.open(io.BytesIO(gallery.examples[0].strip.data)))
    size = strip.shape[0]
    assert strip.shape == (size, 3 * size + 12, 4)
    assert (strip[:, -size:, :3] == 255).all()  # every pixel was raised by epsilon, the clean ones being far below 1


# -- unfinished runs -----------------------------------------------------------------------------------------

FILES = ["config.json", "run.json", "metrics.jsonl", "architecture.json", "evaluation.json", "adversarial.npz"]


@pytest.mark.parametrize("missing", FILES)
def test_any_one_file_may_be_missing(page_of, write_run, missing):
    page_of(write_run(without=[missing]))


@pytest.mark.parametrize("alone", FILES[:-1])
def test_any_one_file_is_enough(page_of, write_run, alone):
    page_of(write_run(without=[name for name in FILES if name != alone]))


def test_before_evaluation_the_page_shows_the_student_and_what_is_missing(context_of, page_of, write_run, record):
    run = record(search="complete", train="running")
    workdir = write_run(without=["evaluation.json", "adversarial.npz"], run=run)
    context = context_of(workdir)
    assert context["title"] == "A student of 18,930 parameters, not yet evaluated"
    unfinished = dict.fromkeys(("teacher", "train", "baselines"), "unfinished")  # metrics of theirs are there
    assert context["missing"] == {**unfinished, "finetune": "not run", "evaluate": "not run"}
    assert list(context["sections"]) == ["network", "tutors", "learning", "run"]
    assert (
        "train (unfinished), finetune (not run), baselines (unfinished), evaluate (not run)." in page_of(workdir).said()
    )


def test_a_run_evaluated_without_attacks(context_of, write_run, evaluation):
    from rnas.pages import results, workdir

    models = {
        name: {key: entry[key] for key in ("kind", "label", "params", "macs", "clean")} | {"epsilons": {}}
        for name, entry in evaluation["models"].items()
    }
    folder = write_run(NO_METRICS, evaluation={**evaluation, "models": models})
    context = context_of(folder)
    assert context["title"] == f"A student of 18,930 parameters reaches 91.3{NARROW}% clean accuracy"
    assert [table.name for table in context["sections"]["results"].content["tables"]] == ["clean"]
    assert results.read_results(workdir.read_workdir(folder)).comparable(["teacher"]) == "pgd_100"


def test_a_search_without_a_teacher_has_no_tutors(context_of, write_run, architecture):
    architecture |= {"tutors": [], "teacher_taps": [], "tutor_probabilities": [], "teacher": {}}
    sections = context_of(write_run(NO_METRICS, architecture=architecture))["sections"]
    assert "tutors" not in sections and "network" in sections


# -- a search for cells --------------------------------------------------------------------------------------


def test_headline_beside_random_cells(searched, read_page):
    said = read_page(searched).said()
    assert "rnas \u00b7 cifar10/3.0.2 \u00b7 space dsara \u00b7 cells by dsara" in said
    assert "A network of 141,306 parameters keeps 49.3 % accuracy under AutoAttack at \u03b5 = 8/255" in said
    assert "Under the same attack the same network with plain training keeps 4.3 % and 3 networks with random" in said
    assert "cells keep 43.6 % on average (40.3 % to 46.3 %)." in said  # 40.25, 44.25 and 46.25
    assert "PGD-100, \u03b5 = 8/25551.3 %3 random 45.6 %plain baseline 6.3 %" in said  # mean of 42.25, 46.25 and 48.25
    assert "None of the random networks does as well; whether that is chance was not tested." in said
    assert "No attack is a proof." in said and "Published figures may follow another protocol." in said
    for word in ("student", "tutor", "rnas-cl", "distillation"):
        assert word not in said.lower()


def test_random_networks_stand_together_with_their_mean_beside_the_searched_one(context_of, write_cells):
    table = context_of(write_cells(metrics=[]))["sections"]["results"].content["tables"][0]
    assert [row[0].text for row in table.rows] == [
        "Searched network",
        "Random networks, mean of 3",
        "Baseline, plain training",
        "AdvRush network",
        "Random network 0",
        "Random network 2",
        "Random network 10",
    ]
    own, mean, *_ = [[(plain(cell.text), plain(cell.below)) for cell in row] for row in table.rows]
    assert own[3:5] == [("82.5", "77.5\u201387.5"), ("51.3", "46.3\u201356.3")]
    assert own[10] == ("49.3", "44.3\u201354.3, of 200")
    # 79, 81 and 80: mean 80, deviation 1; 42.25, 46.25 and 48.25: mean 45.58, deviation 3.06.
    assert mean[1:5] == [("141 k", "\u00b1 0"), ("40.0 M", "\u00b1 0"), ("80.0", "\u00b1 1.0"), ("45.6", "\u00b1 3.1")]


def test_random_and_published_networks_are_explained(searched, read_page):
    said = read_page(searched).said()
    assert "Random networks have cells drawn uniformly" in said and "have the cells of a paper" in said
    assert "without adversarial images: the difference to the network is the contribution of adversarial" in said
    assert "Random network 10, cells" in said


def test_one_random_network_has_no_mean(said_of, cell_evaluation):
    for name in ("baseline_random_2", "baseline_random_10"):
        del cell_evaluation["models"][name]
    said = said_of(evaluation=cell_evaluation)
    assert "mean of" not in said
    assert "a network with random cells keeps 46.3 %. The random network does not do as well; whether" in said


@pytest.mark.parametrize(
    ("random", "words", "established"),
    [
        ((0.1, 0.2, 0.3), "None of the random networks does as well.", True),
        ((0.1, 0.2, 0.49), "does as well, but the difference to the best of them may be chance (p = 0.500)", False),
        ((0.1, 0.2, 0.5), "1 of the random networks does at least as well", False),
        ((0.1, 0.6, 0.7), "2 of the random networks do at least as well", False),
    ],
)
def test_whether_the_search_beats_chance(
    page_of, write_cells, write_outcomes, cell_evaluation, random, words, established
):
    """The searched network keeps 50 % of 200 images, all that a worse network keeps among them."""
    models = cell_evaluation["models"]
    named = dict(zip(("baseline_random_0", "baseline_random_2", "baseline_random_10"), random, strict=True))
    for name, accuracy in (named | {"student": 0.5}).items():
        models[name]["auto_attack"] |= {"accuracy": accuracy, "interval": [accuracy - 0.05, accuracy + 0.05]}
        models[name]["clean"]["count"] = 200
    said = page_of(write_outcomes(write_cells(metrics=[], evaluation=cell_evaluation), count=200)).said()
    assert words in said and ("it is not established that the cells" not in said) == established


def test_models_are_compared_on_as_many_images(said_of, cell_evaluation):
    cell_evaluation["models"]["baseline_random_2"]["auto_attack"]["count"] = 100
    said = said_of(evaluation=cell_evaluation)
    assert "Under PGD-100 it keeps 51.3 %, the same network with plain training keeps 6.3 % and 3 networks" in said


def test_published_cells(context_of, write_cells, cell_config, cell_architecture, record):
    config, origin = cell_config | {"genotype": "pdarts"}, {"origin": {"published": "pdarts"}}
    run = record()
    context = context_of(write_cells("run", (), [], config=config, run=run, architecture=cell_architecture | origin))
    assert context["eyebrow"].endswith("published cells: pdarts")
    assert "search" not in context["missing"] and "train" in context["missing"]


def test_cells_with_a_teacher(said_of, cell_architecture, cell_evaluation):
    taps = {"teacher_taps": ["conv1", "block1"], "tutors": ["block1", "conv1"] * 16 + ["conv1"]}
    taught = cell_architecture | taps | {"teacher": {"architecture": "wide_resnet_10_2", "hash": "f00d"}}
    models = cell_evaluation["models"]
    models["teacher"] = models["baseline_plain"] | {"kind": "teacher", "label": "Teacher"}
    models["baseline_no_distillation"] = models["baseline_random_0"] | {"kind": "no_distillation", "label": "Alone"}
    said = said_of(architecture=taught, evaluation=cell_evaluation)
    assert "Tutors of the student layers" in said and "wide_resnet_10_2" in said
    assert "The baseline without distillation is the same network" in said
    assert "Not compared image by image. Searched network: the outcomes of single images were not kept" in said


def test_a_collapsed_cell_is_noticed(context_of, write_cells, cell_architecture):
    for weightless, noticed in ((5, False), (6, True), (8, True)):
        for place, entry in enumerate(cell_architecture["robust"]):
            kinds = ["skip_connect", "max_pool_3x3", "avg_pool_3x3"]
            entry[0] = kinds[place % 3] if place < weightless else "sep_conv_3x3"
        warnings = context_of(write_cells(metrics=[], architecture=cell_architecture))["warnings"]
        expected = f"Robust cell has collapsed: {weightless} of its 8 operations are pools or skips"
        assert any(warning.startswith(expected) for warning in warnings) == noticed


def test_a_search_that_has_not_ended_has_kept_nothing(context_of, page_of, write_cells):
    workdir = write_cells("unfinished", ["architecture.json", "evaluation.json"])
    context = context_of(workdir)
    assert context["title"] == "No network yet" and context["sections"]["search"].content["kept"] is False
    assert "were kept" not in page_of(workdir).said()


def test_the_page_shows_how_the_search_decided(searched, read_page):
    said = read_page(searched).said()
    assert "Edges that were kept are tinted" in said
    assert said.count("Dotted: the second stage begins") == 2  # how the search decided, learning


# -- cells of NAS-Bench-201 ----------------------------------------------------------------------------------

CODE = "324102"


def code_rows():
    for epoch in range(3):
        row = {"stage": "search", "split": "architecture", "step": epoch, "epoch": float(epoch), "time": 1.0}
        for edge, digit in enumerate(CODE):
            weights = np.exp(epoch * (np.arange(5) == int(digit)))
            for name, weight in zip(OPERATIONS, weights / weights.sum(), strict=True):
                row[f"cell/{edge}/{name}"] = float(weight)
        yield row


def test_the_page_shows_a_cell_of_the_table_and_how_it_was_chosen(write_cells, cell_config, page_of, context_of, rows):
    architecture = {
        "format": 1, "space": "nasbench201", "code": CODE, "channels": 8, "cells": 1, "image_shape": [8, 8, 1],
        "num_classes": 10, "params": 1234, "macs": 56789, "origin": {"method": "arnas"},
    }  # fmt: skip
    config = cell_config | {"space": "nasbench201"}
    folder = write_cells("run", (), list(code_rows()), architecture=architecture, config=config)
    for path in (folder / "architectures").glob("*.json"):
        path.write_text(json.dumps(architecture | {"code": "333133", "origin": {"method": "random"}}))
    said = page_of(folder).said()
    assert "space nasbench201" in said and "node 3 is the output" in said and "two cells before" not in said
    context = context_of(folder)
    ((graph, drawing),) = context["sections"]["network"].content["cells"]
    cell = "conv 3\u00d73 from 0 to 1, conv 1\u00d71 from 0 to 2, avg 3\u00d73 from 1 to 2, skip from 0 to 3"
    assert graph.kind == "cell" and drawing.alt.startswith(f"The cell: {cell}")
    (choices,) = context["sections"]["search"].content["plots"]
    top = np.exp(2) / (np.exp(2) + 4)
    assert f"kept: conv 3\u00d73 from 0 to 1 {top:.2f}, conv 1\u00d71 from 0 to 2 {top:.2f}" in choices.content.alt
    assert rows(context, "cells") == [
        {
            "Cell": "cell",
            "Node 1": "conv 3\u00d73 from 0",
            "Node 2": "conv 1\u00d71 from 0, avg 3\u00d73 from 1",
            "Node 3": "skip from 0, none from 1, conv 1\u00d71 from 2",
        }
    ]

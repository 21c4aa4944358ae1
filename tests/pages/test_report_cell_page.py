"""The page of a search for cells: its network beside random ones, in words that fit it."""

import base64

import pytest

from rnas.pages import write_report
from rnas.pages.naming import method_label, model_label, model_order
from rnas.pages.record import read_record
from rnas.pages.scores import read_results, spread


def cells_of(row):
    return [" ".join(cell.replace("\u202f", " ").split()) for cell in row]


@pytest.fixture
def said_of(page_of, write_cells):
    """`said_of(without=(), **changed)`: the visible text of a page without curves."""
    return lambda without=(), **changed: page_of(write_cells("run", without, [], **changed)).said()


def test_page_needs_nothing_but_itself(searched, read_page):
    page = read_page(searched)
    saved = [path.read_bytes() for path in (searched.parent / "report").glob("*.png")]
    assert sorted(base64.b64decode(image["src"].split(",")[1]) for image in page.all("img")) == sorted(saved)
    assert len(saved) == 1 + 3 + 1 + 3 + 3 + 3  # robustness, cells, network, random cells, choices, stages
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {f"#{anchor}" for anchor in anchors}
    text = searched.read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text and "<script" not in text
    before = searched.read_bytes()
    assert write_report(searched.parent).read_bytes() == before


def test_headline_beside_random_cells(searched, read_page):
    said = read_page(searched).said()
    assert "rnas \u00b7 cifar10/3.0.2 \u00b7 space dsara \u00b7 cells: DSARA" in said
    assert "A network of 141,306 parameters keeps 49.3 % accuracy under AutoAttack at \u03b5 = 8/255" in said
    assert "Under the same attack the same network trained plainly keeps 4.3 % and 3 networks with random cells" in said
    assert "keep 43.6 % on average (40.3 % to 46.3 %)" in said  # 40.25, 44.25 and 46.25
    assert "PGD-100, \u03b5 = 8/25551.3 %3 random45.6 %plain twin6.3 %" in said  # mean of 42.25, 46.25 and 48.25
    assert "None of the random ones does as well, but the intervals overlap" in said


def test_no_word_of_students_tutors_or_another_system(searched, read_page):
    said = read_page(searched).said().lower()
    for word in ("student", "tutor", "rnas-cl", "teacher", "distillation"):
        assert word not in said.replace("teachercomplete", ""), word  # but for the table of stages


def test_random_networks_stand_together_with_their_mean_beside_the_searched_one(searched, read_page):
    rows = [cells_of(row) for row in read_page(searched).rows if len(row) == 11]
    assert [row[0] for row in rows] == [
        "Model",
        "Searched network",
        "Random networks, mean of 3 \u00b1 standard deviation",
        "Baseline, plain training",
        "AdvRush network",
        "Random network 0",
        "Random network 2",
        "Random network 10",
    ]
    _, own, mean, *_ = rows
    assert own[3:5] == ["82.5 77.5\u201387.5", "51.3 46.3\u201356.3"] and own[10] == "49.3 44.3\u201354.3 of 200"
    # 79, 81 and 80: mean 80, deviation 1; 42.25, 46.25 and 48.25: mean 45.58, deviation 3.06.
    assert mean[1:5] == ["141 k \u00b1 0", "40.0 M \u00b1 0", "80.0 \u00b1 1.0", "45.6 \u00b1 3.1"]


def test_what_random_and_published_networks_are_is_told(searched, read_page):
    said = read_page(searched).said()
    assert "Random networks have cells drawn uniformly" in said and "cells published there" in said
    assert "without adversarial images: what the network has over it is adversarial training's part" in said
    assert "Random network 10, cells" in said
    assert "Published figures may follow another protocol." in said and "another unit" not in said


def test_one_random_network_has_no_mean(said_of, cell_evaluation):
    for name in ("baseline_random_2", "baseline_random_10"):
        del cell_evaluation["models"][name]
    said = said_of(evaluation=cell_evaluation)
    assert "mean of" not in said
    assert "a network with random cells keeps 46.3 %. The random one does not do as well, but the intervals" in said


@pytest.mark.parametrize(
    ("random", "words", "established"),
    [
        ((0.1, 0.2, 0.3), "None of the random ones does as well.", True),
        ((0.1, 0.2, 0.46), "None of the random ones does as well, but the intervals overlap", False),
        ((0.1, 0.2, 0.5), "1 of the random ones does at least as well", False),
        ((0.1, 0.6, 0.7), "2 of the random ones do at least as well", False),
    ],
)
def test_whether_the_search_beats_chance(said_of, cell_evaluation, random, words, established):
    """Intervals reach five points to either side of an accuracy; that of the searched network is 50 %."""
    models = cell_evaluation["models"]
    named = dict(zip(("baseline_random_0", "baseline_random_2", "baseline_random_10"), random, strict=True)) | {
        "student": 0.5
    }
    for name, accuracy in named.items():
        models[name]["auto_attack"] |= {"accuracy": accuracy, "interval": [accuracy - 0.05, accuracy + 0.05]}
    said = said_of(evaluation=cell_evaluation)
    assert words in said and ("it is not established that the cells" not in said) == established


def test_models_are_compared_on_as_many_images(said_of, cell_evaluation):
    cell_evaluation["models"]["baseline_random_2"]["auto_attack"]["count"] = 100
    said = said_of(evaluation=cell_evaluation)
    assert "Under PGD-100 it keeps 51.3 %, the same network trained plainly keeps 6.3 % and 3 networks" in said


def test_autoattack_on_other_images_is_no_contradiction(said_of, cell_evaluation):
    for entries in (cell_evaluation, cell_evaluation["models"]["student"]):
        entries["auto_attack"]["accuracy"] = 0.52
    assert "finds more than AutoAttack" not in said_of(evaluation=cell_evaluation)
    for entries in (cell_evaluation, cell_evaluation["models"]["student"]):
        entries["auto_attack"]["count"] = 360
    assert "PGD-100 (51.3 %) finds more than AutoAttack (52.0 %)" in said_of(evaluation=cell_evaluation)


def test_a_published_network_says_so(said_of, cell_config, cell_architecture):
    config = cell_config | {"genotype": "p_darts"}
    said = said_of(
        config=config, run={"stages": {}}, architecture=cell_architecture | {"origin": {"published": "p_darts"}}
    )
    assert "cells: P-DARTS, published" in said and "Published network" in said
    assert "search (" not in said.split("Missing stages:")[1].split(".")[0]


def test_cells_that_learn_from_a_teacher_show_it(said_of, cell_architecture, cell_evaluation):
    taps = {"student_taps": ["stem", "cell0.node2"], "teacher_taps": ["conv1", "block1"], "tutors": ["block1", "conv1"]}
    taught = cell_architecture | taps | {"teacher": {"architecture": "wide_resnet_10_2", "hash": "f00d"}}
    models = cell_evaluation["models"]
    models |= {"teacher": models["baseline_plain"], "baseline_no_distillation": models["baseline_random_0"]}
    said = said_of(architecture=taught, evaluation=cell_evaluation)
    assert "Who learns from whom" in said and "wide_resnet_10_2" in said
    assert "The baseline without distillation is the same network" in said
    assert "without adversarial images and the teacher: what the baseline without distillation has over it" in said
    assert "The intervals of the network and of its baseline without distillation overlap" in said


def test_networks_beyond_the_known_ones_are_drawn(page_of, write_cells, cell_evaluation):
    models = cell_evaluation["models"]
    models |= {f"baseline_{name}": models["baseline_advrush"] for name in ("racl", "p_darts", "darts_v2", "mine")}
    page = page_of(write_cells(metrics=[], evaluation=cell_evaluation))
    assert "mine network" in page.said() and "P-DARTS network" in page.said()


@pytest.mark.parametrize("origin", [{"method": "dsara"}, {"published": "racl"}, {"method": "random"}, None])
def test_labels_of_models(origin):
    expected = {
        None: "Student", "dsara": "Searched network", "racl": "Published network", "random": "Random network",
    }  # fmt: skip
    assert model_label("student", origin) == expected[next(iter(origin.values())) if origin else None]
    assert model_label("teacher", origin) == "Teacher"
    assert model_label("baseline_random_12", origin) == "Random network 12"
    assert model_label("baseline_darts_v2", origin) == "DARTS-V2 network"
    assert model_label("somebody", origin) == "somebody"


def test_order_of_models():
    names = ["baseline_random_10", "baseline_advrush", "teacher", "baseline_random_9", "student", "baseline_plain"]
    assert sorted(names, key=model_order) == [
        "student", "teacher", "baseline_plain", "baseline_advrush", "baseline_random_9", "baseline_random_10",
    ]  # fmt: skip


def test_methods_have_their_names():
    methods = {"dsara": "DSARA", "darts1": "DARTS, first order", "smooth_adv": "SmoothDARTS-ADV", "new": "new"}
    assert {name: method_label({"method": name}) for name in methods} == methods
    assert method_label(None) == "RNAS-CL"


def test_spread_of_a_sample():
    assert spread([0.2, 0.4, 0.6]) == pytest.approx((0.4, 0.2, 0.2, 0.6, 3))  # deviation of a sample: n - 1
    assert spread([0.5])[1] is None
    assert spread([]) is None and spread([0.5, None]) is None


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
    assert read_record(write_cells("run", (), [], **change)).origin == origin


def test_stages_that_a_search_for_cells_does_not_ask_for(write_cells, cell_config):
    def states(**config):
        record = read_record(write_cells("run", ["architecture.json", "evaluation.json"], [], config=config, run={}))
        return {stage: record.status(stage) for stage in ("teacher", "search", "finetune", "train")}

    assert states(**cell_config) == {
        "teacher": "not asked for", "search": "not run", "finetune": "not asked for", "train": "not run",
    }  # fmt: skip
    cell_config["train"]["kl_weight"] = 1.0
    assert states(**cell_config)["teacher"] == "not run"
    assert states(**cell_config | {"genotype": "racl"})["search"] == "not asked for"


def test_evaluations_of_the_suite_go_by_the_same_names(write_cells, write_attack, attack_summary, tmp_path):
    workdir = write_cells(metrics=[])
    folder = write_attack()
    (workdir / "attacks").mkdir()
    folder.rename(workdir / "attacks" / folder.name)
    text = write_report(workdir).read_text(encoding="utf-8")
    assert "Searched network: in the worst case" in text and "Student" not in text


def test_results_without_attacks(write_cells, cell_evaluation):
    least = {"models": {name: {"clean": entry["clean"]} for name, entry in cell_evaluation["models"].items()}}
    least["clean"] = cell_evaluation["clean"]
    results = read_results(read_record(write_cells("run", (), [], evaluation=least)))
    assert results.comparable(["baseline_random_0"]) == "pgd_100" and len(results.random) == 3
    write_report(write_cells("run", (), [], evaluation=least))

"""Whole evaluations of small models: their figures counted again, controls caught, stops survived."""

import csv
import dataclasses
import json
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import time

from controls import CLASSES, SHAPE, batch_normalised, blocked, healthy, noisy, probabilities, quantised
from controls import examples as make_examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnas.artifacts.attack import AttackSummary, Images
from rnas.artifacts.folder_lock import locked
from rnas.attacks import auto_attack, catalogue
from rnas.attacks.programs import AttackRun
from rnas.attacks.result import AttackResult
from rnas.data.datasets import Split
from rnas.evaluation import EvaluatedModel, Settings, Threat, assess, sanity
from rnas.evaluation import assess_function as assess_any
from rnas.evaluation import ledger as ledgers
from rnas.evaluation import runner as runners
from rnas.evaluation.runner import Runner

pytestmark = pytest.mark.usefixtures("brief")

COUNT = 21  # batches of 16 and 8
WRONG = (2, 7)  # from the start
ATTACKS = "pgd_1,apgd_ce,square"
THREAT = Threat.of("4/255")


def predict(variables, images):
    """The healthy control; its weights are constants, `variables` only shift one class."""
    return healthy(images).at[:, 0].add(variables)


MODEL = EvaluatedModel("healthy", "f00d", CLASSES, predict=predict, variables=np.float32(0))


def make_split(count=COUNT):
    images, labels = make_examples(count)
    labels[[row for row in WRONG if row < count]] += 1
    return Split(images, labels % CLASSES, np.arange(count) + 1000)


SPLIT = make_split()


def evaluate(folder, *, model=MODEL, split=SPLIT, threat=THREAT, attack=ATTACKS, batch_size=16, **settings):
    """The content of attack.json."""
    settings = Settings(attack, batch_size=batch_size, **settings)
    return assess(model, split, Images("random", "test"), threat, settings, folder).to_json()


def assess_function(*arguments, **settings):
    """The content of attack.json."""
    return assess_any(*arguments, **settings).to_json()


def failed(summary: dict) -> list[str]:
    return [check["letter"] for check in summary["checks"] if check["status"] == "failed"]


def read(folder: Path, name: str = "attack.json"):
    if name.endswith(".json"):
        return json.loads((folder / name).read_text())
    with np.load(folder / name, allow_pickle=False) as file:
        return dict(file)


def outcome(folder: Path) -> dict:
    """All that an evaluation found, without what the clock and the memory of one process say."""
    summary = read(folder)
    for measured in (summary, *summary["attacks"]):
        del measured["seconds"]
    del summary["cost"]["forward_seconds"], summary["cost"]["compilations"]
    arrays = {name: read(folder, name) for name in ("examples.npz", "adversarial.npz")}
    return {"summary": summary, "arrays": arrays, "csv": (folder / "examples.csv").read_text()}


def assert_same(one: Path, other: Path) -> None:
    first, second = outcome(one), outcome(other)
    assert first["summary"] == second["summary"] and first["csv"] == second["csv"]
    for name, arrays in first["arrays"].items():
        assert arrays.keys() == second["arrays"][name].keys()
        for key, array in arrays.items():
            other = second["arrays"][name][key]
            assert (array.dtype, array.shape) == (other.dtype, other.shape)
            assert array.tobytes() == other.tobytes(), f"{key} of {name}"


def status(summary: dict) -> dict[str, str]:
    return {check["letter"]: check["status"] for check in summary["checks"]}


def advice(summary: dict, letter: str) -> str:
    return next(check["advice"] for check in summary["checks"] if check["letter"] == letter)


def assert_share(figures: dict, hits: int, count: int = COUNT) -> None:
    found = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert figures["count"] == count and figures["accuracy"] == hits / count
    assert figures["interval"] == pytest.approx([found.low, found.high])


def classes(images):
    """A forward pass that shares nothing with the evaluation."""
    return np.asarray(healthy(images)).argmax(1)


@pytest.fixture(scope="module")
def finished(brief, tmp_path_factory):
    """A finished evaluation, which tests must not change."""
    folder = tmp_path_factory.mktemp("finished")
    evaluate(folder)
    return folder


@pytest.fixture
def runs_nothing(monkeypatch):
    def never(*_, **__):
        raise AssertionError("something was run")

    monkeypatch.setattr(Runner, "run_batch", never)


@pytest.fixture
def without_checks(monkeypatch):
    """Leaves out the sanity checks that need attacks of their own, most of what is to be compiled."""
    monkeypatch.setattr(sanity, "run_checks", lambda *_: [])


# -- figures, counted again ------------------------------------------------------------------------------


def test_a_healthy_model_passes_every_check(finished):
    found = status(read(finished))
    assert found == dict.fromkeys("ABCDEFGHIK", "passed")


def test_figures_are_those_of_the_stored_images(finished):
    summary, stored, table = (read(finished, name) for name in ("attack.json", "adversarial.npz", "examples.npz"))
    assert_share(summary["clean"], COUNT - len(WRONG))
    np.testing.assert_array_equal(np.flatnonzero(classes(SPLIT.images) != SPLIT.labels), WRONG)
    np.testing.assert_array_equal(np.flatnonzero(~table["clean_correct"]), WRONG)
    # Every stored image fools, lies in the ball and belongs to its row.
    rows = stored["row"]
    assert len(rows) and not set(rows) & set(WRONG)
    assert (classes(stored["images"]) != SPLIT.labels[rows]).all()
    np.testing.assert_array_equal(stored["clean"], SPLIT.images[rows])
    assert abs(stored["images"] - stored["clean"]).max() <= 4 / 255 + 1e-6
    assert stored["images"].dtype == np.float32 and stored["images"].min() >= 0 and stored["images"].max() <= 1
    standing = COUNT - len(WRONG) - len(rows)
    assert standing > 0
    assert_share(summary["robust"], standing)
    np.testing.assert_array_equal(np.flatnonzero(table["fooled_by"] != ""), rows)
    # The table of attacks tells the same story, one after the other.
    right = COUNT - len(WRONG)
    for number, row in enumerate(summary["attacks"]):
        fooled = int(np.sum(table["fooled_by"] == row["name"]))
        assert (row["attacked"], row["fooled"]) == (right, fooled)
        right -= fooled
        assert_share(row["cumulative"], right)
        assert row["alone"] == (row["cumulative"] if number == 0 else None)
        np.testing.assert_array_equal(table[f"success_{row['name']}"], table["fooled_by"] == row["name"])
        attacked = ~np.isnan(table[f"loss_{row['name']}"])
        assert np.sum(attacked) == row["attacked"]
    assert [row["name"] for row in summary["attacks"]] == ATTACKS.split(",")
    assert [row["fooled"] > 0 for row in summary["attacks"][:2]] == [True, True]
    assert right == standing
    assert summary["uint8"]["fooled"] == len(rows)
    rounded = np.float32(np.rint(stored["images"] * 255) / 255)
    assert summary["uint8"]["still_fooling"] == np.sum(classes(rounded) != SPLIT.labels[rows])


def test_the_table_describes_the_stored_images(finished):
    table, stored = read(finished, "examples.npz"), read(finished, "adversarial.npz")
    images = SPLIT.images.copy()
    images[stored["row"]] = stored["images"]
    move = (images.astype(np.float64) - SPLIT.images).reshape(COUNT, -1)
    for norm, order in {"linf": np.inf, "l2": 2, "l1": 1}.items():
        np.testing.assert_allclose(table[f"distance_{norm}"], np.linalg.norm(move, order, axis=1), rtol=1e-6)
    logits = np.asarray(healthy(images), np.float64)
    own = np.take_along_axis(logits, SPLIT.labels[:, None], 1)[:, 0]
    others = np.where(np.arange(CLASSES) == SPLIT.labels[:, None], -np.inf, logits).max(1)
    np.testing.assert_allclose(table["margin"], own - others, atol=1e-5)
    np.testing.assert_array_equal(table["adversarial_prediction"], logits.argmax(1))
    np.testing.assert_array_equal(table["clean_prediction"], classes(SPLIT.images))
    np.testing.assert_array_equal(table["label"], SPLIT.labels)
    np.testing.assert_array_equal(table["id"], SPLIT.ids)
    assert (table["clean_margin"] < 0).tolist() == [row in WRONG for row in range(COUNT)]


def test_queries_are_those_of_the_attacks(finished):
    table, summary = read(finished, "examples.npz"), read(finished)
    # PGD shows its start and one step; APGD a start and 100 iterates; Square a start and 24 queries.
    by_pgd, by_apgd = (table["fooled_by"] == name for name in ("pgd_1", "apgd_ce"))
    stands = (table["fooled_by"] == "") & table["clean_correct"]
    assert set(table["queries"][by_pgd]) == {2}
    assert set(table["queries"][by_apgd]) == {2 + 101}
    assert set(table["queries"][stands]) == {2 + 101 + 25}
    assert set(table["queries"][list(WRONG)]) == {0}
    assert sum(row["queries"] for row in summary["attacks"]) == table["queries"].sum()


def test_csv_and_arrays_are_the_same_table(finished):
    table = read(finished, "examples.npz")
    with open(finished / "examples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT and list(rows[0]) == list(table)
    for name, column in table.items():
        texts = [row[name] for row in rows]
        if column.dtype.kind in "bU":
            assert texts == [str(value) for value in column.tolist()], name
        else:
            np.testing.assert_array_equal(np.array(texts, np.float64).astype(column.dtype), column, err_msg=name)


def test_the_report_names_what_was_done(finished):
    summary = read(finished)
    assert summary["format"] == 2 and failed(summary) == []
    assert summary["threat"] == {"norm": "linf", "epsilon": 4 / 255, "epsilon_text": "4/255"}
    assert summary["model"]["hash"] == "f00d" and summary["dataset"]["count"] == COUNT
    assert [point["epsilon"] for point in summary["curve"]["points"]] == [
        k / 255 for k in (0, 1, 2, 4, 8, 16, 32, 64, 128, 255)
    ]
    curve = [point["accuracy"] for point in summary["curve"]["points"]]
    assert curve[0] == summary["clean"]["accuracy"] and curve == sorted(curve, reverse=True) and curve[-1] == 0
    assert {path.name for path in finished.iterdir()} == {
        "attack.json", "attack.log", "examples.csv", "examples.npz", "adversarial.npz",
    }  # fmt: skip
    log = (finished / "attack.log").read_text()
    assert f"{COUNT} images, {COUNT - len(WRONG)} classified correctly" in log
    for name in ("pgd_1", "apgd_ce", "square 1/3", "square 3/3"):
        assert f" {name}: fooled " in log
    assert AttackSummary.read(finished / "attack.json").to_json() == summary


def test_a_report_that_lacks_a_field_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(sanity, "run_checks", lambda *_: [])
    to_json = AttackSummary.to_json
    monkeypatch.setattr(AttackSummary, "to_json", lambda self: {**to_json(self), "uint8": {}})
    summary = evaluate(tmp_path, attack="fgsm")
    assert failed(summary) == ["K"] and "uint8.fooled" in read(tmp_path)["checks"][-1]["figure"]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "epsilon"), [("l1", 1.2), ("l2", 0.15)])
def test_other_norms(tmp_path, norm, epsilon):
    summary = evaluate(tmp_path, threat=Threat.of(epsilon, norm), attack="apgd_ce")
    stored, table = read(tmp_path, "adversarial.npz"), read(tmp_path, "examples.npz")
    move = (stored["images"].astype(np.float64) - stored["clean"]).reshape(len(stored["row"]), -1)
    lengths = np.linalg.norm(move, {"l2": 2, "l1": 1}[norm], axis=1)
    assert 0 < len(lengths) < COUNT - len(WRONG) and lengths.max() <= epsilon + 2e-6
    assert (classes(stored["images"]) != SPLIT.labels[stored["row"]]).all()
    np.testing.assert_allclose(table[f"distance_{norm}"][stored["row"]], lengths, rtol=1e-6)
    assert_share(summary["robust"], COUNT - len(WRONG) - len(lengths))
    found = status(summary)
    assert "failed" not in found.values() and "warning" not in found.values()
    assert [point["epsilon"] for point in summary["curve"]["points"]] == [epsilon * k for k in (0, 0.25, 0.5, 1, 2, 4)]


def test_each_attack_on_every_example(finished, tmp_path):
    summary = evaluate(tmp_path, individually=True)
    table, together = read(tmp_path, "examples.npz"), read(finished, "examples.npz")
    right, union = COUNT - len(WRONG), np.zeros(COUNT, bool)
    for row in summary["attacks"]:
        success = table[f"success_{row['name']}"]
        assert (row["attacked"], row["fooled"]) == (right, success.sum())
        assert np.sum(~np.isnan(table[f"loss_{row['name']}"])) == right
        assert_share(row["alone"], right - success.sum())
        union |= success
        assert_share(row["cumulative"], right - union.sum())
    assert_share(summary["robust"], right - union.sum())
    fooled_by = np.full(COUNT, "", dtype="<U16")
    for row in reversed(summary["attacks"]):
        fooled_by[table[f"success_{row['name']}"]] = row["name"]
    np.testing.assert_array_equal(table["fooled_by"], fooled_by)
    np.testing.assert_array_equal(table["fooled_by"], together["fooled_by"])
    for name, array in read(finished, "adversarial.npz").items():
        np.testing.assert_array_equal(read(tmp_path, "adversarial.npz")[name], array)


# -- odd sets, few classes, small memories ---------------------------------------------------------------


def test_no_examples(tmp_path):
    summary = evaluate(tmp_path, split=make_split(0))
    assert summary["clean"] == summary["robust"] == {"accuracy": 0.0, "count": 0, "interval": [0.0, 1.0]}
    assert [(row["attacked"], row["fooled"]) for row in summary["attacks"]] == [(0, 0)] * 3
    found = status(summary)
    assert found["K"] == "passed" and set(found.values()) <= {"passed", "skipped"}
    assert {len(column) for column in read(tmp_path, "examples.npz").values()} == {0}
    assert read(tmp_path, "adversarial.npz")["images"].shape == (0, *SHAPE)
    assert AttackSummary.read(tmp_path / "attack.json").to_json() == summary


def test_one_example(finished, tmp_path):
    summary = evaluate(tmp_path, split=make_split(1))
    assert_share(summary["clean"], 1, count=1)
    assert failed(summary) == []
    assert read(tmp_path, "examples.npz")["fooled_by"][0] == read(finished, "examples.npz")["fooled_by"][0]


def test_all_wrong_from_the_start(tmp_path):
    images, labels, ids = SPLIT.images, (classes(SPLIT.images) + 1) % CLASSES, SPLIT.ids
    summary = evaluate(tmp_path, split=Split(images, labels, ids))
    assert_share(summary["clean"], 0)
    assert_share(summary["robust"], 0)
    assert [(row["attacked"], row["fooled"]) for row in summary["attacks"]] == [(0, 0)] * 3
    assert failed(summary) == [] and len(read(tmp_path, "adversarial.npz")["row"]) == 0


def test_nobody_falls(tmp_path):
    summary = evaluate(tmp_path, threat=Threat.of(0.0))
    assert_share(summary["robust"], COUNT - len(WRONG))
    assert failed(summary) == [] and status(summary)["I"] == "skipped"
    assert len(read(tmp_path, "adversarial.npz")["row"]) == 0


def test_everybody_falls(tmp_path):
    summary = evaluate(tmp_path, threat=Threat.of("64/255"))
    assert_share(summary["robust"], 0)
    assert [row["attacked"] for row in summary["attacks"]][-1] == 0
    assert failed(summary) == []


@pytest.mark.parametrize("batch_size", [4, pytest.param(64, marks=pytest.mark.slow)])
def test_the_batch_size_decides_nothing(finished, tmp_path, batch_size):
    evaluate(tmp_path, batch_size=batch_size)
    one, other = outcome(finished), outcome(tmp_path)
    for summary in (one["summary"], other["summary"]):
        del summary["batch_size"], summary["checks"]
    assert one["summary"] == other["summary"]
    for name in ("fooled_by", "queries", "success_pgd_1", "success_apgd_ce", "success_square"):
        np.testing.assert_array_equal(one["arrays"]["examples.npz"][name], other["arrays"]["examples.npz"][name])
    images = [each["arrays"]["adversarial.npz"]["images"] for each in (one, other)]
    np.testing.assert_allclose(*images, atol=1e-6)


def test_short_memory_halves_the_batches(finished, tmp_path, monkeypatch):
    shared, tried = runners.run_frozen, set()

    def frozen(*arguments):
        run = shared(*arguments)

        def call(variables, images, *rest):
            tried.add(images.shape[0] * images.shape[1])
            if images.shape[0] * images.shape[1] > 4:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes.")
            return run(variables, images, *rest)

        return call

    monkeypatch.setattr(runners, "run_frozen", frozen)
    evaluate(tmp_path)
    assert tried == {16, 12, 8, 4}
    one, other = outcome(finished)["summary"], outcome(tmp_path)["summary"]
    for summary in (one, other):
        del summary["checks"]
    assert one == other
    np.testing.assert_array_equal(
        read(finished, "examples.npz")["fooled_by"], read(tmp_path, "examples.npz")["fooled_by"]
    )


@pytest.mark.parametrize("classes", [2, 3, *(pytest.param(classes, marks=pytest.mark.slow) for classes in (4, 5))])
def test_auto_attack_with_few_classes(without_checks, tmp_path, classes):
    weights = np.random.default_rng(classes).normal(0, 1, (5 * 7, classes)).astype(np.float32)

    def logits_fn(images):
        return (images.reshape(len(images), -1) - 0.5) @ weights

    images = np.random.default_rng(1).uniform(0.2, 0.8, (6, 5, 7, 1)).astype(np.float32)
    labels = np.asarray(logits_fn(images)).argmax(1)
    summary = assess_function(logits_fn, images, labels, tmp_path, epsilon=0.01, batch_size=8)
    table = read(tmp_path, "examples.npz")
    # Linear: the strongest image in the ball is known.
    logits = np.asarray(logits_fn(images), np.float64)
    leads = [
        max(logits[n, i] - logits[n, y] + 0.01 * abs(weights[:, i] - weights[:, y]).sum()
            for i in range(classes) if i != y)
        for n, y in enumerate(labels)
    ]  # fmt: skip
    np.testing.assert_array_equal(table["fooled_by"] != "", np.array(leads) > 0)
    assert 0 < np.sum(table["fooled_by"] != "") < 6
    assert failed(summary) == []
    third = {2: "apgd_margin", 3: "apgd_dlr"}.get(classes, "apgd_t")
    assert [row["name"] for row in summary["attacks"]] == ["apgd_ce", third, "fab_t", "square"]
    if classes < 4:
        assert summary["version"] == f"standard (K={classes}: apgd_t → {third})" in summary["warnings"][0]
    else:
        assert summary["version"] == "standard" and summary["warnings"] == []


# -- controls --------------------------------------------------------------------------------------------


def assess_control(logits_fn, folder, attack="pgd_20", labels_of=healthy):
    images, labels = make_examples(12, labels_of)
    summary = assess_function(logits_fn, images, labels, folder, epsilon="4/255", attack=attack, batch_size=12)
    return status(summary), summary


def test_quantised_inputs_are_caught(tmp_path):
    found, summary = assess_control(quantised(healthy), tmp_path, "pgd_20,square", quantised(healthy))
    assert found["B"] == found["D"] == found["H"] == "warning" and "failed" not in found.values()
    assert "gradient is zero" in advice(summary, "B") and "Square" in advice(summary, "D")
    white_box, square = summary["attacks"]
    # PGD fools at most where its random start falls into another step of the rounding.
    assert square["cumulative"]["accuracy"] < white_box["cumulative"]["accuracy"]


def test_what_square_fools_first_is_no_sign_of_masked_gradients(tmp_path, monkeypatch):
    """Each gradient attack of the plan gets its turn before Square is said to find what gradients miss."""
    monkeypatch.setattr(sanity, "ORDER", {})
    monkeypatch.setattr(sanity, "_rise", lambda norm, logits_fn, images, labels, keys, settings, carry: dict.fromkeys(
        ("start", "late", "last", "success"), jnp.zeros(len(images))))  # fmt: skip
    summary = evaluate(tmp_path, threat=Threat.of("16/255"), attack="square,pgd_1,apgd_ce")
    square, *gradients = summary["attacks"]
    assert square["fooled"] > sum(attack["fooled"] for attack in gradients)
    check = next(check for check in summary["checks"] if check["letter"] == "D")
    assert check["status"] == "passed" and "Square fools 0 that a white-box attack does not" in check["figure"]


@pytest.mark.slow
def test_blocked_gradients_are_caught(tmp_path):
    found, summary = assess_control(blocked(healthy), tmp_path, "pgd_20,square")
    assert found["B"] == found["D"] == found["H"] == "warning" and "failed" not in found.values()
    assert "stop_gradient" in advice(summary, "B")


def test_probabilities_are_caught(without_checks, tmp_path):
    found, summary = assess_control(probabilities(healthy), tmp_path)
    assert found["A"] == "warning" and "look like probabilities" in advice(summary, "A")


def test_noise_is_caught(without_checks, tmp_path):
    found, summary = assess_control(noisy(healthy), tmp_path)
    assert found["A"] == "warning" and "'rand'" in advice(summary, "A")


def test_training_mode_is_caught(without_checks, tmp_path):
    found, summary = assess_control(batch_normalised(healthy), tmp_path)
    assert found["A"] == "failed" and "running statistics" in advice(summary, "A")
    assert "A" in failed(summary)


def short(images):
    """The healthy control in bfloat16."""
    return (jnp.tanh((images - 0.5).reshape(len(images), -1).astype(jnp.bfloat16) @ HIDDEN) @ OUT).astype(jnp.bfloat16)


HIDDEN, OUT = (np.random.default_rng(1).normal(size=size).astype(jnp.bfloat16) for size in ((60, 8), (8, CLASSES)))


def test_shorter_types_of_a_model_are_recorded_and_survive_a_stop(without_checks, tmp_path, monkeypatch):
    arguments = short, *make_examples(12, short)
    settings = dict(epsilon="4/255", attack="pgd_1,fgsm", batch_size=12)
    with monkeypatch.context() as patch:
        left = stopping(patch)
        left[0] = 9  # after the clean images were judged
        with pytest.raises(Stopped):
            assess_function(*arguments, tmp_path / "stopped", **settings)
    assert list((tmp_path / "stopped").glob("ledger/clean/*.npz"))
    for name in ("stopped", "whole"):
        summary = assess_function(*arguments, tmp_path / name, **settings)
    assert_same(tmp_path / "stopped", tmp_path / "whole")
    assert summary["precision"].startswith("bfloat16 inside the model, else float32, matrix products")
    assert any("The model computes in bfloat16" in warning for warning in summary["warnings"])


def test_nan_is_never_robust(without_checks, tmp_path):
    images, labels = make_examples(12)
    summary = assess_function(
        lambda x: healthy(x) * jnp.nan, images, 0 * labels, tmp_path, epsilon="4/255", attack="fgsm"
    )
    assert summary["clean"]["accuracy"] == summary["robust"]["accuracy"] == 0
    assert status(summary)["A"] == "failed"
    assert (read(tmp_path, "examples.npz")["clean_prediction"] == -1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, labels: (images, labels[:, None]), r"Use labels.reshape\(-1\)"),
        (lambda images, labels: (images * 255, labels), "divide by 255"),
        (lambda images, labels: ((images - 0.5) / 0.2, labels), "make normalisation the first layer"),
        (lambda images, labels: (images, labels + CLASSES), r"labels must lie in \[0, 4\)"),
        (lambda images, labels: (images, np.eye(CLASSES, dtype=int)[labels]), "One-hot labels"),
        (lambda images, labels: (np.where(images > 0.5, np.nan, images), labels), "must be finite"),
    ],
)
def test_inputs_that_cannot_be_attacked_are_refused(tmp_path, runs_nothing, change, message):
    images, labels = change(SPLIT.images, SPLIT.labels)
    with pytest.raises(ValueError, match=f"check A .inputs. failed: .*{message}"):
        assess_function(healthy, images, labels, tmp_path / "new", epsilon="8/255", attack="fgsm")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dict(attack="apgd_ce,sqare"), "unknown attack 'sqare'; expected one of fgsm,"),
        (dict(attack="pgd_20*3,fgsm, pgd_20"), r"attack 'pgd_20' is named twice; write 'pgd_20\*R' for R restarts"),
        (dict(attack="pgd_20", norm="l1"), "attack 'pgd_20' is not offered in l1"),
        (dict(version="standrad"), "no AutoAttack version 'standrad'"),
        (dict(version="plus", norm="l1"), "no AutoAttack version 'plus' in norm 'l1'"),
        (dict(epsilon="8"), "is '8/255' meant"),
        (dict(epsilon="eight"), "cannot read 'eight' as a length; write '8/255'"),
        (dict(epsilon=jnp.float32(np.nan)), "must be finite"),
        *((dict(batch_size=size), "batch_size must be a whole number") for size in (0, -4, 2.0, "16", None)),
        *(
            (dict(seed=seed), "seed must be a whole number from 0 to 4294967295")
            for seed in ("3", -1, 2**32, 2**70, 1.0)
        ),
        (dict(attack=["pgd_20"]), r"attack=\['pgd_20'\]: expected a text, such as 'auto_attack'"),
        (dict(version=None), "version=None: expected a text, such as 'standard'"),
        (dict(transfer="runs/a"), "expected a tuple of folders"),
        (dict(individually="yes"), "expected True or False"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, runs_nothing, wanted, message):
    settings = {"epsilon": "8/255", **wanted}
    with pytest.raises(ValueError, match=message):
        assess_function(healthy, SPLIT.images, SPLIT.labels, tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_logits_without_a_gradient_are_refused(tmp_path, runs_nothing, dtype):
    def votes(images):
        return (healthy(images) > 0).astype(dtype)

    with pytest.raises(ValueError, match="floating-point logits"):
        assess_function(votes, SPLIT.images, SPLIT.labels, tmp_path / "new", epsilon="8/255", attack="square")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_images_that_square_cannot_take_are_refused_before_anything_is_spent(tmp_path, runs_nothing, norm):
    rows = SPLIT.images[:, :4].astype(np.float32) / 255

    def logits_fn(images):
        return jnp.zeros((len(images), CLASSES))

    with pytest.raises(ValueError, match="at least 5 rows.*got 4 rows"):
        assess_function(logits_fn, rows, SPLIT.labels, tmp_path / "new", epsilon=1, norm=norm)
    with pytest.raises(ValueError, match="at least 5 rows"):
        auto_attack(logits_fn, rows, SPLIT.labels, epsilon=1, norm=norm, key=jax.random.key(0))
    assert not (tmp_path / "new").exists()


def liar(logits_fn, images, labels, keys, settings, carry):
    """Says that it fools every example, with the clean image."""
    count = len(images)
    fooled = jnp.ones(count, bool)
    return AttackResult(images, fooled, jnp.full(count, 9.0), jnp.ones(count, jnp.int32), fooled), None


def test_false_claims_do_not_count_and_are_caught(finished, tmp_path, monkeypatch):
    plan = Settings.plan
    lie = AttackRun(catalogue.Attack("lie", "Lie", "liar"), 0, 1, liar, 1, False, {"steps": 0})

    def plan_with_a_liar(*arguments):
        honest = plan(*arguments)
        return dataclasses.replace(honest, runs=(lie, *honest.runs))

    monkeypatch.setattr(Settings, "plan", plan_with_a_liar)
    summary = evaluate(tmp_path)
    assert failed(summary) == ["G"]
    right = COUNT - len(WRONG)
    figure = next(check["figure"] for check in summary["checks"] if check["letter"] == "G")
    assert figure.startswith(f"{right} of {right} images that were claimed to fool do not when counted again")
    assert summary["attacks"][0]["fooled"] == 0
    assert summary["robust"] == read(finished)["robust"]


@pytest.mark.slow
def test_a_random_model_is_judged_over_draws(tmp_path):
    def logits_fn(images, key):
        return healthy(images) + 0.3 * jax.random.normal(key, (len(images), CLASSES))

    images, labels = make_examples(12)
    summary = assess_function(logits_fn, images, labels, tmp_path, epsilon="4/255", version="rand", batch_size=12)
    assert [row["name"] for row in summary["attacks"]] == ["apgd_ce", "apgd_dlr"] and summary["version"] == "rand"
    assert 0 < summary["robust"]["accuracy"] < summary["clean"]["accuracy"]
    found = status(summary)
    assert found["A"] == found["E"] == "passed" and found["C"] == found["G"] == "skipped"
    # Averaged over fresh noise, every stored image is wrong more often than a few draws from one half.
    stored = read(tmp_path, "adversarial.npz")
    draws = jax.vmap(lambda key: logits_fn(stored["images"], key).argmax(1))(jax.random.split(jax.random.key(5), 400))
    assert (np.mean(np.asarray(draws) != labels[stored["row"]], axis=0) > 0.3).all()


# -- stops -----------------------------------------------------------------------------------------------


def test_a_folder_in_which_another_process_works_is_refused(tmp_path, runs_nothing):
    with locked(tmp_path / "ledger"), pytest.raises(ValueError, match="works in .*or choose another --output"):
        evaluate(tmp_path)
    assert not (tmp_path / "ledger" / "identity.json").exists()


class Stopped(Exception):
    pass


def stopping(monkeypatch):
    """Makes evaluations stop; `left` is how many batches and files they may still run and write."""
    left, run_batch, write_arrays = [0], Runner.run_batch, ledgers.write_arrays

    def counted(original):
        def call(*arguments, **rest):
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            return original(*arguments, **rest)

        return call

    monkeypatch.setattr(Runner, "run_batch", counted(run_batch))
    monkeypatch.setattr(ledgers, "write_arrays", counted(write_arrays))
    return left


@pytest.mark.parametrize("seed", [0, 1])
def test_stops_change_nothing(finished, tmp_path, monkeypatch, seed):
    left, chance, stops = stopping(monkeypatch), random.Random(seed), 0
    while not (tmp_path / "attack.json").exists():
        left[0] = chance.randrange(8, 40)
        try:
            evaluate(tmp_path)
        except Stopped:
            stops += 1
            assert not (tmp_path / "attack.json").exists()
    assert stops >= 3
    assert_same(finished, tmp_path)
    assert not (tmp_path / "ledger").exists()


def test_damaged_work_is_redone(finished, tmp_path, monkeypatch):
    left = stopping(monkeypatch)
    left[0] = 100
    with pytest.raises(Stopped):
        evaluate(tmp_path)
    chance = random.Random(0)
    files = [path for path in sorted(tmp_path.glob("ledger/*/*.npz")) if "square" not in path.parent.name]
    assert len(files) > 10
    for path in chance.sample(files, 5):
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    left[0] = 10**9
    evaluate(tmp_path)
    assert_same(finished, tmp_path)


def test_damaged_work_that_other_work_built_on_is_refused(tmp_path, monkeypatch):
    measured = ledgers.Ledger.measured

    def stops(self, name, *arguments):
        if name.endswith("square_002"):
            raise Stopped
        return measured(self, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ledgers.Ledger, "measured", stops)
        with pytest.raises(Stopped):
            evaluate(tmp_path, attack="square")
    assert not list(tmp_path.glob("ledger/*_square_000/*.carry.npz")), "dropped, because block 1 is finished"
    (tmp_path / "ledger" / "000_square_001" / "00000.npz").write_bytes(b"")
    with pytest.raises(
        ValueError, match="square 2/3 cannot go on, because .* Remove .*ledger to start from the beginning"
    ):
        evaluate(tmp_path, attack="square")


def test_a_finished_evaluation_is_returned_at_once(finished, runs_nothing):
    before = {path: path.read_bytes() for path in sorted(finished.rglob("*")) if path.is_file()}
    assert evaluate(finished) == read(finished)
    assert {path: path.read_bytes() for path in sorted(finished.rglob("*")) if path.is_file()} == before


def test_a_stop_after_the_last_file_is_made_good(finished, tmp_path, monkeypatch):
    def stops(ledger):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(ledgers.Ledger, "close", stops)
        with pytest.raises(Stopped):
            evaluate(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run_batch", None)
        assert evaluate(tmp_path) == read(tmp_path)
    assert_same(finished, tmp_path)
    assert not (tmp_path / "ledger").exists()


OTHERS = {
    "epsilon": (dict(threat=Threat.of("2/255")), f"{4 / 255!r} there, {2 / 255!r} now"),
    "norm": (dict(threat=Threat.of("4/255", "l2"), attack="pgd_1"), "'linf' there, 'l2' now"),
    "seed": (dict(seed=3), "0 there, 3 now"),
    "model": (
        dict(model=EvaluatedModel("other", "beef", CLASSES, predict=predict, variables=np.float32(1))),
        "'f00d' there, 'beef' now",
    ),
    "data": (dict(split=SPLIT.take(np.arange(20))), "there"),
    "attacks": (dict(attack="fgsm"), r"['pgd_1', 'apgd_ce', 'square 1/3', 'square 2/3', 'square 3/3'] there, ['fgsm']"),
    "individually": (dict(individually=True), "False there, True now"),
    "transfer": (dict(transfer=("elsewhere",)), "[] there, ['elsewhere'] now"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_evaluation_is_refused_in_a_finished_folder(finished, runs_nothing, what):
    settings, values = OTHERS[what]
    with pytest.raises(ValueError) as refusal:
        evaluate(finished, **settings)
    message = str(refusal.value)
    assert f"{finished} holds another evaluation" in message and f"{what}: " in message and values in message


@pytest.mark.parametrize("what", ["epsilon", "seed", "model", "data", "attacks", "individually"])
def test_another_evaluation_is_refused_in_an_unfinished_folder(tmp_path_factory, monkeypatch, what):
    folder, left = tmp_path_factory.mktemp("unfinished"), stopping(monkeypatch)
    with pytest.raises(Stopped):
        evaluate(folder)
    settings, values = OTHERS[what]
    with pytest.raises(ValueError) as refusal:
        evaluate(folder, **settings)
    message = str(refusal.value)
    assert f"{folder} holds another evaluation" in message and f"{what}: " in message and values in message
    assert left == [0]


SCRIPT = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
import numpy as np
sys.path.insert(0, sys.argv[1])
from controls import examples, healthy
from rnas.attacks import programs
from rnas.evaluation import assess_function
programs.QUERIES, programs.BLOCK = 24, 8
images, labels = examples(120)
assess_function(healthy, images, labels, sys.argv[2], epsilon="4/255", attack="apgd_ce,fab_t,square", batch_size=8)
"""


@pytest.mark.slow
def test_kills_change_nothing(tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text(SCRIPT)
    controls = Path(__file__).resolve().parents[1] / "attacks"

    def start(folder):
        return subprocess.Popen([sys.executable, script, controls, folder], stderr=subprocess.DEVNULL)

    undisturbed, disturbed, chance = tmp_path / "undisturbed", tmp_path / "disturbed", random.Random(1)
    assert start(undisturbed).wait(300) == 0
    for _ in range(3):
        done = len(list(disturbed.glob("ledger/*/*.npz")))
        process, more = start(disturbed), chance.randrange(5, 25)
        while len(list(disturbed.glob("ledger/*/*.npz"))) < done + more:
            assert process.poll() is None, "it finished before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (disturbed / "attack.json").exists()
    assert start(disturbed).wait(300) == 0
    assert_same(undisturbed, disturbed)


# -- images of other models ------------------------------------------------------------------------------


OTHER = EvaluatedModel("other", "beef", CLASSES, predict=predict, variables=np.float32(0.5))


def test_images_of_another_model_are_tried(finished, tmp_path):
    summary = evaluate(tmp_path, model=OTHER, transfer=(str(finished),))
    stored = read(finished, "adversarial.npz")
    images = SPLIT.images.copy()
    images[stored["row"]] = stored["images"]
    hits = np.sum(np.asarray(predict(np.float32(0.5), images)).argmax(1) == SPLIT.labels)
    (found,) = summary["transfer"]
    assert (found["source"], found["model"]) == (str(finished), "healthy")
    assert_share(found, hits)
    assert hits < COUNT * summary["clean"]["accuracy"], "some images transfer"


def test_each_source_is_tried(finished, tmp_path):
    # Two names that differ in signs only, as a folder in the ledger cannot.
    sources = [tmp_path / "a_b", tmp_path / "a" / "b"]
    shutil.copytree(finished, sources[0])
    shutil.copytree(finished, sources[1])
    stored = read(finished, "adversarial.npz")
    np.savez(
        sources[1] / "adversarial.npz", row=stored["row"][:0], images=stored["images"][:0], clean=stored["clean"][:0]
    )
    summary = evaluate(tmp_path / "new", model=OTHER, transfer=tuple(map(str, sources)))
    first, second = summary["transfer"]
    assert first["accuracy"] < second["accuracy"] == summary["clean"]["accuracy"]


def test_images_that_this_threat_does_not_allow_are_refused(finished, tmp_path, runs_nothing):
    def refused(message, source=finished, **settings):
        with pytest.raises(ValueError, match=message):
            evaluate(tmp_path / "new", model=OTHER, transfer=(str(source),), **settings)

    refused("attacked in linf with epsilon 4/255, which is more than this threat allows .linf, 3/255.",
            threat=Threat.of("3/255"))  # fmt: skip
    refused("attacked in linf .*allows .l2, 4/255.", threat=Threat.of("4/255", "l2"), attack="pgd_1")
    refused(f"attacked other images .random, {COUNT} of them.; transfer needs the same", split=make_split(20))
    refused("no finished attack at .*nowhere: expected a folder with attack.json", source=tmp_path / "nowhere")

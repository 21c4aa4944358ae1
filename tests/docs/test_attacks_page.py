"""`docs/attacks.md`: its code runs, its figures hold, and its tables are those of the code."""

from importlib.util import find_spec
from pathlib import Path
import re
import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnas.attacks
from rnas.attacks import measurements, sanity_checks
from rnas.attacks.auto_attack import VERSIONS, plan_auto_attack
from rnas.attacks.catalogue import NAMES
from rnas.attacks.programs import runs_of
from rnas.attacks.verdict import DRAWS
from rnas.cli.attack import threat_of
from rnas.evaluation import Settings, assess_function
from rnas.evaluation.sanity import EXAMPLES, PASSES
from rnas.main import parse
from rnas.models import build_model
from rnas.teachers import save_teacher

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
SENTENCES = " ".join(TEXT.split())
NEAR = 24 / 255
SHAPE = (8, 8, 1)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def table(first_heading):
    """Rows of the table that begins with this heading, cells without backticks."""
    lines = TEXT[TEXT.index(f"| {first_heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def number(cell):
    return int(cell.replace(",", ""))


@pytest.fixture(scope="module", autouse=True)
def numpy_broadcasts():
    """The models of the page are code of a user, which need not write out its broadcasts."""
    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The names that its code leaves behind, run from top to bottom with two folders in place of one's own."""
    random = np.random.default_rng(0)
    network = build_model("wide_resnet_10_1", num_classes=10, mean=(0.3,), std=(0.35,))
    shapes = jax.eval_shape(lambda: dict(network.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))))
    variables = jax.tree.map(lambda leaf: random.uniform(0.05, 0.2, leaf.shape).astype(leaf.dtype), shapes)
    teacher = tmp_path_factory.mktemp("teacher")
    save_teacher(teacher, network, variables, architecture="wide_resnet_10_1", image_shape=SHAPE, origin={})
    names = {"__name__": __name__, "teacher_folder": str(teacher), "folder": str(tmp_path_factory.mktemp("assessment"))}
    precision = jax.config.jax_default_matmul_precision
    try:
        for block in blocks("python"):
            exec(compile(block, "attacks.md", "exec"), names)
        assert jax.config.jax_default_matmul_precision == "highest"
    finally:
        jax.config.update("jax_default_matmul_precision", precision)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("library", ["equinox", "keras"])
def test_models_of_other_libraries(library):
    """In a process of its own: a library may bring another backend, and keeps what it was first told."""
    if find_spec(library) is None:
        pytest.skip("pip install 'rnas[agreement]'")
    (example,) = (block for block in blocks("py") if f"import {library}\n" in block)
    beginning = blocks("python")[0]
    check = """
assert result.success.shape == (12,) and abs(np.asarray(result.images) - images).max() <= 8 / 255 + 1e-6
assert np.asarray(result.success)[np.asarray(LOGITS(images)).argmax(1) != labels].all()
""".replace("LOGITS", f"{library}_logits")
    subprocess.run([sys.executable, "-c", beginning + example + check], check=True, cwd=Path(__file__).parents[2])


def predictions(document, images):
    return np.asarray(document["model"](jnp.asarray(images))).argmax(1)


def within_reach(document):
    """Which images can fool the model, which is linear: a rival's lead grows by what each pixel can add."""
    images, means = document["images"].reshape(-1, 64).astype(np.float64), np.asarray(document["model"].means, float)
    labels, rivals = document["labels"], ~np.eye(10, dtype=bool)[document["labels"]]
    slopes = 5 * (means - means[labels][:, None])  # [N, K, 64], of the lead of every class over the label
    leads = np.einsum("nkd,nd->nk", slopes, images) - 2.5 * ((means**2).sum(1) - (means[labels] ** 2).sum(1)[:, None])
    up, down = np.minimum(NEAR, 1 - images)[:, None], np.minimum(NEAR, images)[:, None]
    gains = np.where(slopes > 0, slopes * up, -slopes * down).sum(2)
    return np.any((leads + gains > 0) & rivals, axis=1)


def test_all_attacks_run_on_a_module_that_cannot_be_hashed(document):
    model, images, labels = (document[name] for name in ("model", "images", "labels"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(model)
    right = predictions(document, images) == labels
    assert 0 < np.sum(~right) < 3
    beyond = within_reach(document)
    results = document["results"]
    assert list(results) == ["fgsm", "pgd", "mim", "cw", "apgd", "fab", "square"]
    for name, result in {**results, "whole": document["whole"]}.items():
        success = np.asarray(result.success)
        assert success.sum() > 0 and not np.any(success & ~beyond), name
        assert np.all(success >= result.last_success), name
        np.testing.assert_array_equal(np.asarray(result.images)[~success], images[~success])
        assert np.all(predictions(document, result.images)[success] != labels[success]), name
        assert np.max(abs(result.images - images)) <= NEAR + 1e-6, name
    np.testing.assert_allclose(list(document["accuracy"].values()), [1 - r.success.mean() for r in results.values()])
    np.testing.assert_array_equal(results["apgd"].success | ~right, beyond)
    distances = document["distances"]
    np.testing.assert_array_equal(results["fab"].success, distances <= NEAR)
    np.testing.assert_array_equal(distances == 0, ~right)


def test_other_models_are_attacked_as_well(document):
    assert document["flax_result"].success.shape == document["teacher_result"].success.shape == (12,)
    fooled = np.asarray(document["flax_result"].success)
    guesses = np.asarray(document["flax_logits"](document["flax_result"].images)).argmax(1)
    np.testing.assert_array_equal(guesses != document["guesses"], fooled)
    assert document["teacher_logits"](document["images"]).shape == (12, 10)
    assert document["averaged"].queries[0] == 4 * 21


def test_radii_may_be_traced_and_keys_given_for_each_image(document):
    curve = document["curve"]
    clean = np.mean(predictions(document, document["images"]) == document["labels"])
    assert curve[0] == pytest.approx(clean)
    assert all(np.diff(list(curve.values())) <= 0) and curve[64] == 0
    parts = [np.asarray(half.success) for half in document["halves"]]
    np.testing.assert_array_equal(np.concatenate(parts), document["whole"].success)


def test_autoattack_counts_what_is_wrong_from_the_start(document):
    ensemble, images, labels = document["ensemble"], document["images"][-4:], document["labels"][-4:]
    wrong = predictions(document, images) != labels
    np.testing.assert_array_equal(np.asarray(ensemble.queries) == 0, wrong)
    np.testing.assert_array_equal(predictions(document, ensemble.images) != labels, ensemble.success)
    np.testing.assert_array_equal(ensemble.success, within_reach(document)[-4:])
    assert document["robust_accuracy"] == 1 - np.mean(ensemble.success)


def test_evaluation_leaves_the_files_it_names(document):
    summary, folder = document["summary"], Path(document["folder"])
    files = re.findall(r"[\w.]+", " ".join(row[0] for row in table("file")))
    assert len(files) == 5 and all((folder / name).stat().st_size > 0 for name in files)
    wrong = predictions(document, document["images"]) != document["labels"]
    assert summary.clean.accuracy == pytest.approx(1 - wrong.mean())
    with np.load(folder / "examples.npz") as examples:
        np.testing.assert_array_equal(examples["clean_correct"], ~wrong)
        attacked = examples["success_pgd_20"] | examples["success_apgd_ce"]
        np.testing.assert_array_equal(examples["fooled_by"] != "", attacked)
        assert summary.robust.accuracy == pytest.approx(1 - np.mean(wrong | attacked))
        np.testing.assert_array_equal(wrong | attacked, within_reach(document))
        assert {"distance_l1", "loss_pgd_20", "queries"} <= set(examples)
    with np.load(folder / "adversarial.npz") as stored:
        assert set(stored) == {"row", "images", "clean"} and len(stored["row"]) == attacked.sum() > 0
        np.testing.assert_array_equal(stored["clean"], document["images"][stored["row"]])
    assert document["low"] <= document["robust"] <= document["high"]
    assert summary.precision.endswith("highest")


def test_evaluation_begun_with_other_settings_is_refused(document):
    def again(**settings):
        return assess_function(
            document["model"], document["images"], document["labels"], document["folder"], **settings
        )  # fmt: skip

    assert again(epsilon="24/255", attack="pgd_20,apgd_ce", batch_size=4) == document["summary"]
    for settings in ({"epsilon": "23/255"}, {"seed": 1}, {"attack": "pgd_20"}):
        with pytest.raises(ValueError, match="holds another evaluation"):
            again(**{"epsilon": "24/255", "attack": "pgd_20,apgd_ce"} | settings)


def test_inputs_are_refused_as_said(document):
    model, images, labels = (document[name] for name in ("model", "images", "labels"))
    for attack in (rnas.attacks.fgsm, rnas.attacks.apgd, rnas.attacks.fab, rnas.attacks.square):
        with pytest.raises(ValueError, match=r"pixels must lie in \[0, 1\]"):
            attack(model, 2 * images, labels, epsilon=0.1, key=document["key"])
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(lambda x: rnas.attacks.auto_attack(model, x, labels, epsilon=0.1, key=document["key"]))(images)


def test_attacks_of_the_table_are_those_of_the_code():
    rows = table("name")
    forms = [re.sub(r"_\d+$", "_<steps>", name) for name, *_ in rows]
    assert forms == list(NAMES)
    for name, settings, cost, _ in rows:
        runs = runs_of(name, "linf", 10)
        assert ", ".join(f"{key} {value}" for key, value in runs[0].settings.items()) == settings, name
        assert sum(run.cost for run in runs) == number(cost), name


def test_versions_of_the_table_are_those_of_the_code():
    found = {}
    for version, norms, attacks, cost in table("version of `auto_attack`"):
        for norm in norms.split(", "):
            found[version, norm] = tuple(attacks.split(", "))
            assert sum(run.cost for run in plan_auto_attack(version, norm, 10).runs) == number(cost)
    assert found == VERSIONS


def test_few_classes_are_treated_as_said():
    attacks = {k: [run.name for run in plan_auto_attack("standard", "linf", k).runs] for k in (2, 3, 4)}
    assert "`standard (K=3: apgd_t → apgd_dlr)`" in SENTENCES
    assert plan_auto_attack("standard", "linf", 3).version == "standard (K=3: apgd_t → apgd_dlr)"
    assert list(dict.fromkeys(attacks[3])) == ["apgd_ce", "apgd_dlr", "fab_t", "square"]
    assert list(dict.fromkeys(attacks[2])) == ["apgd_ce", "apgd_margin", "fab_t", "square"]
    assert [attacks[k].count("fab_t") for k in (2, 3, 4)] == [1, 2, 3]
    assert [run.name for run in plan_auto_attack("rand", "l2", 2).runs] == ["apgd_ce", "apgd_margin"]
    with pytest.raises(ValueError, match="use apgd"):
        runs_of("pgd_20", "l1", 10)


def test_checks_of_the_table_are_those_of_an_evaluation(document):
    rows = table("check")
    assert [(letter, name) for letter, name, *_ in rows] == [
        (check.letter, check.name) for check in document["summary"].checks
    ]
    assert set(document["verdicts"].values()) <= {"passed", "warning", "skipped"}
    said = {letter: text for letter, _, _, text in rows}
    shares = {
        "B": [sanity_checks.VANISHED_SHARE],
        "D": [
            sanity_checks.FGSM_GAIN,
            sanity_checks.STEPS_GAIN,
            sanity_checks.RESTARTS_GAIN,
            sanity_checks.SQUARE_GAIN,
        ],
        "E": [sanity_checks.RISE, sanity_checks.OVER_CHANCE],
        "F": [sanity_checks.LATE_SHARE],
    }
    for letter, limits in shares.items():
        assert [float(limit) / 100 for limit in re.findall(r"([\d.]+) %", said[letter])] == pytest.approx(limits)
    assert f"{measurements.VANISHED:g}" in said["B"] and sanity_checks.LARGE == 64 / 255
    assert PASSES == 5 and "Five passes" in said["A"]
    assert EXAMPLES == 1000 and "first 1,000 correct images" in SENTENCES
    assert DRAWS == 20 and "over 20 draws" in SENTENCES and "half of 20 fresh draws" in SENTENCES


def test_worst_verdicts_are_those_of_the_code():
    """Each check is handed the worst it can be told."""
    one, all_of_them = np.ones(1, bool), np.ones((1, 4), bool)
    stored = dict(predictions=np.zeros(1), labels=np.zeros(1), epsilon=0.1, norm="linf")
    worst = [
        sanity_checks.check_outputs(np.full((5, 1, 2), np.nan), np.zeros((1, 2)), np.zeros(1, int)),
        sanity_checks.check_gradients(all_of_them, all_of_them, all_of_them[:, :2]),
        sanity_checks.check_noise(one, ~one),
        sanity_checks.check_order({"fgsm": one, "pgd": ~one, "pgd_twice_steps": one, "square": one, "white_box": ~one}),
        sanity_checks.check_monotone([0, 1], [0.5, 1.0], 1.0, 10, "linf"),
        sanity_checks.check_finished(np.zeros(1), np.zeros(1), np.ones(1)),
        sanity_checks.check_silent(one, ~one),
        sanity_checks.check_stability(np.ones(1), np.zeros(1)),
        sanity_checks.check_stored(np.zeros((1, 2, 2, 1)), np.ones((1, 2, 2, 1)), **stored),
        sanity_checks.check_complete({}),
    ]
    assert [(check.letter, check.name, check.status) for check in worst] == [tuple(row[:3]) for row in table("check")]


def test_commands_are_understood():
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert commands and all(command.startswith("rnas attack ") for command in commands)
    for command in commands:
        arguments, overrides = parse(shlex.split(command)[1:])
        assert not overrides
        threat_of(arguments)
        Settings(attack=arguments.attack, version=arguments.version).plan(arguments.norm, 10)

"""`rnas ntk`: which architectures and columns it takes, what it answers, and a whole study of the digits."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest

from rnas.artifacts.kernel_results import CellScores, KernelResults, KernelSettings
from rnas.cli import ntk as command
from rnas.main import main
from rnas.pages.kernel_page import kernel_context, write_kernel_page
from rnas.runs.kernel_agreement import agreement
from rnas.spaces.nasbench201 import encode, representatives, to_code
from rnas.tabular import RobBench
from rnas.tabular.table import METRICS


@pytest.fixture(autouse=True)
def _settings_of_the_tests(monkeypatch):
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data directory of its own; the user's is left alone."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def table():
    """Every class, with random accuracies."""
    ids = tuple(np.unique(representatives()).tolist())
    random = np.random.default_rng(0)
    return RobBench("made up", "0" * 64, ids, {f"cifar10/{metric}": random.random(len(ids)) for metric in METRICS})


def test_a_sample_has_one_class_of_every_part_of_the_ranking(table):
    ids = command.choose_architectures(None, 7, table, ["cifar10/pgd_8"], seed=0)
    ranks = np.argsort(np.argsort(-table.column("cifar10/pgd_8")))[np.searchsorted(table.ids, ids)]
    edges = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(len(table.ids)), 7)])
    assert sorted(np.digitize(ranks, edges)) == list(range(1, 8))
    assert ids == command.choose_architectures(None, 7, table, ["cifar10/pgd_8"], seed=0)
    assert ids != command.choose_architectures(None, 7, table, ["cifar10/pgd_8"], seed=1)
    without = command.choose_architectures(None, 7, None, [], seed=0)
    assert len(set(without)) == 7 and set(without) <= set(table.ids)


def test_architectures_by_any_name():
    string = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert command.choose_architectures(f"9930,{string},333133", None, None, [], 0) == [0, 9930]


def test_columns(table):
    assert command.choose_columns(None, None, "cifar10") == []
    assert command.choose_columns(table, None, "cifar10:3.*.*") == [f"cifar10/{metric}" for metric in METRICS]
    assert command.choose_columns(table, "cifar10/macs", "digits") == ["cifar10/macs"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--archs=A,B"),
        (["--archs=1", "--sample=2"], "--archs=A,B"),
        (["--archs=333135"], "The nearest code is '333134'"),
        (["--sample=0"], "expected 1 to 6466"),
        (["--archs=1", "--columns=cifar10/clean"], "give --table"),
        (["--archs=1", "--images=1"], "images=1: expected at least 2"),
        (["--archs=1", "--beta=2"], "beta=2.0"),
        (["--archs=1", "--epsilon=8/255,8/255"], "all different"),
        (["--archs=1", "--epsilon=eight"], "'eight'"),
        (["--archs=1", "--epsilon=8"], "is '8/255' meant?"),
        (["--archs=1", f"--seed={2**32}"], "seed must be a whole number from 0 to 4294967295"),
        (["--archs=1", "--images=4000"], "choose at most"),
    ],
)
def test_mistakes_are_one_clear_line(options, message, data, capsys):
    assert main(["ntk", "--dataset=digits", f"--data-dir={data}", *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") <= 3 and not shown.out


@pytest.mark.parametrize("archs", ["1,2,9930", "9930,1"])
def test_a_cell_that_the_table_lacks_is_missed_before_anything_is_scored(data, tmp_path, capsys, monkeypatch, archs):
    content = {"digits": {"1": {"val_acc": {"0": 0.5}}, "2": {"val_acc": {"0": 0.6}}}}
    (tmp_path / "table.json").write_text(json.dumps(content))
    monkeypatch.setattr(command, "run_study", lambda *_: pytest.fail("cells were scored"))
    options = ["ntk", "--dataset=digits", f"--data-dir={data}", f"--table={tmp_path / 'table.json'}", "--partial"]
    assert main([*options, f"--archs={archs}"]) == 2
    assert "has no digits/clean of id 9930" in capsys.readouterr().err


def test_a_table_of_a_few_cells_has_no_best_ones(made_up, table):
    ids = [cell.id for cell in made_up.architectures[:4]]
    column = table.column("cifar10/clean")[np.searchsorted(table.ids, ids)]
    few = RobBench("few", "0" * 64, tuple(ids), {"cifar10/clean": column})
    results = dataclasses.replace(made_up, architectures=made_up.architectures[:4])
    found = agreement(results, few, ["cifar10/clean"])
    assert found.best is None and len(found.correlations) == len(made_up.settings.ranking_scores)


def test_a_data_set_without_columns_is_refused(table):
    with pytest.raises(ValueError, match="no accuracies of 'digits'.*Data sets: cifar10"):
        command.choose_columns(table, None, "digits")


@pytest.fixture(scope="module")
def made_up(table):
    """A study whose clean λ_min is noise, and whose λ_min under attack is the accuracy itself."""
    settings = KernelSettings(images=4, initialisations=2)
    ids = command.choose_architectures(None, 60, table, ["cifar10/clean"], seed=0)
    random = np.random.default_rng(1)
    each = random.normal(size=(60, 2, len(settings.scores)))
    truth = table.column("cifar10/pgd_8")[np.searchsorted(table.ids, ids)]
    scores = each.mean(1)
    scores[:, settings.scores.index("robust@8/255/lambda_min")] = truth
    scores[:, settings.scores.index("robust@8/255/fit")] = -truth
    scores[:, settings.scores.index("synflow")] = 1.0

    def named(row):
        return dict(zip(settings.scores, row.tolist(), strict=True))

    cells = [
        CellScores(number, to_code(number), named(mean), named(one.std(0)), degenerate=place == 3)
        for place, (number, mean, one) in enumerate(zip(ids, scores, each, strict=True))
    ]
    seconds = {"median": 2.0, "total": 120.0}
    dataset = {"name": "digits/1.0.0", "description": "digits"}
    return KernelResults(dataset, settings, (0, 1, 2, 3), seconds, seconds, "cpu", {"jax": "0"}, tuple(cells))


@pytest.fixture(scope="module")
def answer(made_up, table, data, tmp_path_factory):
    """The outcome of the command: (JSON, output folder)."""
    folder, shown = tmp_path_factory.mktemp("study"), io.StringIO()
    columns = ",".join(f"cifar10/{metric}" for metric in METRICS)
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(shown):
        monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
        monkeypatch.setattr(command, "run_study", lambda *_: made_up)
        monkeypatch.setattr(command, "load_robbench", lambda *_, **__: table)
        monkeypatch.setattr("rnas.runs.kernel_agreement.RESAMPLES", 300)
        options = ["--dataset=digits", f"--data-dir={data}", "--table=made_up", "--images=4", "--sample=60", "--json"]
        assert main(["ntk", *options, f"--columns={columns}", f"--output={folder}"]) == 0
    return json.loads(shown.getvalue()), folder


def test_agreement_with_the_table(answer):
    found, _ = answer
    at = {(row["score"], row["column"]): row for row in found["correlations"]}
    assert at["robust@8/255/lambda_min", "cifar10/pgd_8"]["spearman"] == pytest.approx(1)
    assert at["robust@8/255/fit", "cifar10/pgd_8"]["spearman"] == pytest.approx(-1)
    assert abs(at["clean/lambda_min", "cifar10/pgd_8"]["spearman"]) < 0.5
    assert at["synflow", "cifar10/clean"]["spearman"] is None
    assert len(at) == 6 * (11 * 7 + 4 + 3)  # columns; kernels, their scores, proxies, costs
    assert found["best"]["count"] == pytest.approx(12, abs=1)


def test_what_is_kept(answer, made_up):
    found, folder = answer
    assert found == json.loads((folder / "ntk.json").read_text())
    assert KernelResults.read(folder / "ntk.json").to_json() == KernelResults.from_json(found).to_json()
    assert (folder / "report" / "figures" / "scores.svg").read_bytes().startswith(b"<?xml")
    text = (folder / "ntk.md").read_text()
    assert "60 architectures on 4 training images of digits/" in text and "2 initialisations, seed 0" in text
    assert f"does not depend on the image: {to_code(made_up.architectures[3].id)}." in text
    row = next(line for line in text.splitlines() if line.startswith("| λ min") and "| robust@8/255 " in line)
    assert row.split("|")[7].split()[0] == "1.00"  # cifar10/pgd_8
    assert " nan" not in text and "None" not in text


@pytest.mark.slow
def test_the_page_in_a_browser(check_page, answer):
    check_page(answer[1] / "report.html")


def test_the_page_shows_the_same_figures(answer):
    found, folder = answer
    page = kernel_context(KernelResults.read(folder / "ntk.json"))
    assert "the \u03bb min of the robust (8/255) kernel ranks cifar10/pgd_8 best of all kernel scores" in page["title"]
    assert len(page["degenerate"]) == 1
    assert "<dd>4 training images of digits/" in (folder / "report.html").read_text()
    strength = page["sections"]["strength"].content
    assert strength["picture"].name == "strength_cifar10_pgd_8" and len(strength["others"]) == len(METRICS) - 1
    at = {(row["score"], row["column"]): row for row in found["correlations"]}
    table = page["sections"]["scores"].content["table"].content
    (shown,) = [row for row in table.rows if [cell.text for cell in row[:2]] == ["\u03bb min", "robust (8/255)"]]
    for cell, metric in zip(shown[2:], METRICS, strict=True):
        row = at["robust@8/255/lambda_min", f"cifar10/{metric}"]
        low, high = map(float, cell.below.split(" to "))
        assert [float(cell.text), low, high] == pytest.approx([row["spearman"], row["low"], row["high"]], abs=0.0051)
    gains = page["sections"]["gains"].content
    assert [cell.below for cell in gains.columns[1:3]] == ["over clean", "over clean"]
    assert gains.rows[0][2].kind == "strong"  # \u03bb min of robust (8/255) over clean
    written = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert write_kernel_page(folder).read_bytes() == written
    cells = page["sections"]["cells"].content
    assert cells.unfolded and page["legend"].encode() in written
    heads = [column.line for column in cells.content.columns]
    assert "\u03bb min, clean" in heads and "\u03bb min, robust (8/255)" in heads
    assert all(row[1].text.isdecimal() for row in cells.content.rows), "ids can be pasted"


def test_gains_name_both_kernels(answer):
    found, _ = answer
    at = {(row["score"], row["kernel"], row["over"], row["column"]): row for row in found["gains"]}
    strong = at["lambda_min", "robust@8/255", "clean", "cifar10/pgd_8"]
    assert strong["gain"] > 0.5 and strong["low"] > 0.3 and strong["p_value"] < 0.01
    weak = at["trace", "robust@8/255", "robust@3/255", "cifar10/clean"]
    assert weak["low"] < 0 < weak["high"] and weak["p_value"] > 0.05
    pairs = {key[1:3] for key in at}
    assert pairs == {
        ("robust@3/255", "clean"),
        ("robust@8/255", "clean"),
        ("robust@8/255", "robust@3/255"),
        ("twice@3/255", "robust@3/255"),
        ("twice@8/255", "robust@8/255"),
    }


def test_costs_are_those_of_the_benchmark(table):
    from rnas.runs.kernel_study import _costs

    class Digits:
        image_shape, num_classes = (32, 32, 3), 10

    assert _costs(9930, Digits) == [table.query(9930, "cifar10", "params"), table.query(9930, "cifar10", "macs"), 5.0]
    assert encode(9930).count(3) == 5


@pytest.mark.slow
def test_a_study_of_the_digits_goes_on_where_it_stopped(data, tmp_path, capsys, monkeypatch):
    options = [
        "ntk",
        "--dataset=digits",
        f"--data-dir={data}",
        "--images=10",
        "--initialisations=2",
        "--epsilon=0.1,0.3",
        "--steps=2",
    ]
    options += ["--channels=2", "--cells=1", f"--output={tmp_path}", "--json"]
    archs = "--archs=333133,333000,1000"
    assert main([*options, archs]) == 0
    first = json.loads(capsys.readouterr().out)
    assert [cell["code"] for cell in first["architectures"]] == ["333000", "132013", "333133"]
    assert [cell["degenerate"] for cell in first["architectures"]] == [True, False, False]
    alive = first["architectures"][1]["scores"]
    assert alive["clean/lambda_min"] > 0 and alive["clean/rank"] == 10
    assert alive["mixed_clean@0.3/trace"] == pytest.approx(
        0.25 * alive["clean/trace"] + 0.5 * alive["cross@0.3/trace"] + 0.25 * alive["robust@0.3/trace"], rel=1e-5
    )
    assert first == json.loads((tmp_path / "ntk.json").read_text())

    monkeypatch.setattr("rnas.runs.kernel_study._scorer", None)  # nothing is computed again
    assert main([*options, archs]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main([*options, "--archs=1000"]) == 0
    assert json.loads(capsys.readouterr().out)["architectures"] == first["architectures"][1:2]
    assert main([*options, archs, "--seed=1"]) == 2
    assert "seed" in capsys.readouterr().err

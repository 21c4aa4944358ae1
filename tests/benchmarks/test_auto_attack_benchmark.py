"""The benchmark of AutoAttack gives both sides the same work, and runs."""

import importlib
import importlib.util
import json

import pytest

for name in ("torch", "torchattacks"):
    pytest.importorskip(name, reason=f"{name} is the other side of this benchmark; pip install '.[agreement]'")


@pytest.fixture(scope="module")
def benchmark(script):
    return script("auto_attack")


def small_problem(benchmark, *options):
    return benchmark.make_problem(benchmark.parse(["--dataset=digits", *options]))


@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch):
    """Where the digits and their network are kept: one for all tests of a run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def test_both_sides_have_the_settings_of_autoattack(benchmark, tmp_path):
    ours = importlib.import_module("rnas.attacks.auto_attack").plan_auto_attack("standard", "linf", 10).runs
    problem = small_problem(benchmark, "--images=4")
    benchmark.save(problem, tmp_path / "problem.npz")
    theirs = benchmark.Theirs(benchmark.load(tmp_path / "problem.npz"), threads=1).attacks
    assert list(dict.fromkeys(run.name for run in ours)) == list(theirs)
    settings = {run.name: run.settings for run in ours}
    for name in ("apgd_ce", "apgd_t", "fab_t"):
        assert theirs[name].steps == settings[name]["steps"] == 100
    for name in ("apgd_t", "fab_t"):
        assert theirs[name].n_target_classes == settings[name]["targets"] == 9
    assert theirs["apgd_ce"].loss == settings["apgd_ce"]["loss"] == "ce"
    assert theirs["apgd_ce"].thr_decr == theirs["apgd_t"].thr_decr == 0.75
    fab, square = theirs["fab_t"], theirs["square"]
    assert fab.multi_targeted and (fab.alpha_max, fab.eta, fab.beta) == (0.1, 1.05, 0.9)
    assert square.n_queries == settings["square"]["queries"] == 5000
    assert square.rescale_schedule is settings["square"]["rescaled_schedule"] is False
    assert square.p_init == settings["square"]["p_init"] and square.loss == "margin"
    for attack in theirs.values():
        assert (attack.norm, attack.eps, attack.n_restarts) == ("Linf", problem.epsilon, 1)
        assert getattr(attack, "eot_iter", 1) == 1


@pytest.mark.slow
def test_both_sides_find_the_same(benchmark):
    problem = small_problem(benchmark, "--images=60", "--batch=60", "--epsilon=0.1")
    ours, theirs = benchmark.Ours(problem)(), benchmark.Theirs(problem, threads=1)()
    assert ours["standing"]["apgd_ce"] == theirs["standing"]["apgd_ce"]  # correct ones
    assert ours["standing"]["apgd_t"] == pytest.approx(theirs["standing"]["apgd_t"], abs=1)
    assert ours["robust_accuracy"] == pytest.approx(theirs["robust_accuracy"], abs=1.01 / 60)
    assert 0.1 < ours["robust_accuracy"] < 0.9
    assert ours["standing"]["square"] >= round(60 * ours["robust_accuracy"])


def test_it_prints_one_line_of_results(benchmark, capfd):
    benchmark.main(["--dataset=digits", "--images=3", "--threads=1", "--json"])
    (line,) = capfd.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["name"] == "auto_attack" and result["sizes"]["images"] == 3 and result["threads"] == 1
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"], rel=1e-2)
    assert result["ratio_compiled"] == pytest.approx(result["theirs"] / result["ours_compiled"], rel=1e-2)
    first, second = result["compilations"]
    assert first > 0 and second == 0
    assert 0 < result["compile_seconds"] < result["ours"]
    for name, parts in result["parts"].items():
        assert list(parts) == ["apgd_ce", "apgd_t", "fab_t", "square"]
        assert sum(parts.values()) <= result[name] == result["seconds"][name][0]
    # A radius of 8/255 is small for images of 8×8 pixels: these three withstand everything on both sides.
    assert result["robust_accuracy"] == {"ours": 1.0, "ours_compiled": 1.0, "theirs": 1.0}
    assert {"jax", "torch", "torchattacks"} < set(result["versions"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("--images=0", "at least 1"), ("--threads=100000", "may use"), ("--dataset=cifar", "invalid choice")],
)
def test_it_refuses_what_it_cannot_do(benchmark, capsys, wrong, message):
    with pytest.raises(SystemExit):
        benchmark.main([wrong])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["torch", "torchattacks"])
def test_it_says_what_is_missing(benchmark, capsys, monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(SystemExit):
        benchmark.main([])
    assert f"{missing}, the other side, is not installed; pip install '.[agreement]'" in capsys.readouterr().err

"""`rnas tabular`: one JSON object on standard output, figures of the table, one clear line for a mistake."""

import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import rankdata

from rnas.main import main
from rnas.spaces.nasbench201 import encodings, representatives


@pytest.fixture
def answer(file, capsys):
    """Runs a question and returns its JSON."""

    def query_json(question, *options, table=file):
        assert main(["tabular", question, f"--table={table}", *options, "--json"]) == 0
        shown = capsys.readouterr()
        assert shown.err == "" and shown.out.count("\n") == 1
        return json.loads(shown.out)

    return query_json


def test_query(answer, means):
    found = answer("query", "--arch=104141")
    assert (found["id"], found["code"], found["canonical"], found["class_size"]) == (15608, "104141", 58, 15)
    assert found["string"].startswith("|skip_connect~0|+|none~0|avg_pool_3x3~1|+")
    assert list(found["values"].values())[:18] == means["58"]
    assert found["values"]["imagenet16/macs"] == 1_953_280
    column = [entry[0] for number, entry in means.items() if isinstance(entry, list) and number]
    assert found["ranks"]["cifar10/clean"] == 1 + sum(value > means["58"][0] for value in column)
    assert found["table"]["classes"] == 6466 and found["runs"] == {}
    assert found == answer("query", f"--arch={found['string']}") == answer("query", "--arch=15608")


def test_rank(answer, means):
    found = answer("rank", "--by=cifar100/fgsm_8", "--top=3")
    rows = {int(number): entry for number, entry in means.items() if isinstance(entry, list) and number}
    best = sorted(rows, key=lambda number: (-rows[number][9], number))[:3]
    assert [cell["id"] for cell in found["top"]] == best
    assert [cell["rank"] for cell in found["top"]] == [1, 2, 3]
    assert found["top"][1]["values"]["cifar10/pgd_3"] == rows[best[1]][2]
    assert found["operations"]["nor_conv_3x3"] == (encodings()[best] == 3).sum()
    summary = found["summary"]["cifar100/fgsm_8"]
    assert summary["median"] == pytest.approx(np.median([row[9] for row in rows.values()]))
    assert (summary["best"], summary["best_id"]) == (rows[best[0]][9], best[0])


def test_correlate(answer, means):
    found = answer("correlate", "--columns=cifar10/clean,cifar10/pgd_8,cifar10/macs")
    assert found["columns"] == ["cifar10/clean", "cifar10/pgd_8", "cifar10/macs"]
    rows = np.array([means[str(number)][:6] for number in np.unique(representatives())])
    order = rows[:, [0, 4]].argsort(0).argsort(0)  # apart from a few ties
    assert found["spearman"][0][1] == pytest.approx(np.corrcoef(order.T)[0, 1], abs=1e-3)
    assert found["spearman"][0][1] == found["spearman"][1][0] and found["kendall"][2][2] == pytest.approx(1)
    assert len(answer("correlate")["columns"]) == 18
    few = answer("correlate", "--columns=cifar10/clean,cifar10/pgd_8", "--best=0.01", "--by=cifar10/autoattack")
    assert few["count"] == [[64, 64], [64, 64]] and few["by"] == "cifar10/autoattack"


def test_constant_columns_have_no_coefficient(answer, write, tmp_path):
    numbers = ("0", "1", "2")
    content = {"cifar10": {n: {"val_acc": {"0": 0.1 * int(n)}, "autoattack": 0.5} for n in numbers}}
    table = write(tmp_path / "mine.json", content, prefix="")
    found = answer("correlate", "--partial", table=table)
    assert found["spearman"] == [[pytest.approx(1), None], [None, None]]
    assert answer("query", "--partial", "--arch=1", table=table)["runs"] == {"cifar10/clean": {"0": 0.1}}
    assert answer("query", "--partial", "--arch=9930", table=table)["ranks"] == {}


@pytest.mark.parametrize("algorithm", ["random", "evolution", "local_search"])
def test_search(answer, means, tmp_path, algorithm):
    options = ("--objective=cifar10/pgd_8", "--budget=70", "--repeats=9", f"--algorithm={algorithm}")
    path = tmp_path / "trajectories.npz"
    found = answer("search", *options, "--seed=2", f"--trajectories={path}")
    assert [found[key] for key in ("algorithm", "objectives", "budget", "repeats", "seed")] == [
        algorithm, ["cifar10/pgd_8"], 70, 9, 2,
    ]  # fmt: skip
    figures = np.array([means[str(number)][4] for number in np.unique(representatives())])
    scores = figures[np.searchsorted(np.unique(representatives()), representatives())]
    reached = scores[np.load(path)["queries"]].max(1)
    assert found["chosen"]["cifar10/pgd_8"]["mean"] == pytest.approx(reached.mean())
    assert found["chosen"]["cifar10/pgd_8"]["std"] == pytest.approx(reached.std())
    assert found["optimum"]["value"] == figures.max()
    assert found["optimum"]["reached"] == (reached == figures.max()).mean()
    assert found["regret"]["mean"] == pytest.approx(figures.max() - reached.mean())
    assert found["curve"]["queries"] == list(range(1, 71))
    assert found["curve"]["mean"][-1] == pytest.approx(reached.mean())
    assert found["curve"]["quantiles"]["0.5"][-1] == pytest.approx(np.median(reached))
    assert found["random_search"] == found["curve"]["random_search"][-1]


def test_search_for_a_cheap_cell_and_for_a_front(answer):
    found = answer("search", "--algorithm=local_search", "--objective=cifar10/params", "--budget=200", "--repeats=3")
    assert found["chosen"]["cifar10/params"] == {"mean": 73_306, "std": 0, "standard_error": 0}
    assert found["optimum"]["value"] == 73_306 and found["optimum"]["reached"] == 1
    assert found["random_search"] >= 73_306
    found = answer("search", "--algorithm=random", "--objective=cifar10/clean,cifar10/macs", "--repeats=3")
    front = [tuple(cell["values"].values()) for cell in found["front"]]
    assert len(set(front)) == len(front) and front == sorted(front, reverse=True)
    assert all(one[1] > other[1] for one, other in zip(front, front[1:], strict=False))
    assert 0 < found["hypervolume"]["mean"] < 1 and 0 <= found["front_found"]["mean"] < 1


@pytest.mark.parametrize("objective", ["cifar10/clean", "cifar10/macs", "cifar10/clean,cifar10/macs"])
def test_plot(answer, tmp_path, objective):
    path = tmp_path / "search.png"
    answer("search", "--algorithm=evolution", f"--objective={objective}", "--repeats=4", f"--plot={path}")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("query --arch=333133", "id 9930, code 333133"),
        ("rank --by=cifar10/clean --top=2", "best by cifar10/clean"),
        ("correlate --best=0.5 --columns=cifar10/clean,cifar10/pgd_8", "best 50% by cifar10/clean: Spearman above"),
        (
            "search --algorithm=evolution --repeats=2 --budget=55",
            "evolution on cifar10/pgd_8: 2 searches of 55 queries",
        ),
        ("search --algorithm=random --repeats=2 --objective=cifar10/clean,cifar10/macs", "front of the table"),
    ],
)
def test_text(file, capsys, question, shown):
    assert main(["tabular", *question.split(), f"--table={file}"]) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("query --arch=15625", "id 15625 is out of range"),
        ("query --arch=333153", "The nearest code is '333143'"),
        ("rank --by=cifar10/pgd8", "the nearest is 'cifar10/pgd_8'"),
        ("rank --top=0", "top=0: expected at least 1"),
        ("correlate --columns=cifar10/clean,clean", "no column 'clean'"),
        ("correlate --best=2", "share 2.0 of 6466 classes"),
        ("search --algorithm=random --objective=pgd_8", "no column 'pgd_8'"),
        ("search --algorithm=random --budget=0", "budget=0"),
        ("search --algorithm=random --table=none.json", "no table at none.json"),
        ("search --algorithm=random --repeats=2 --plot=none/search.png", "none/search.png"),
    ],
)
def test_a_mistake_is_one_line(file, capsys, question, message):
    name, *options = question.split()
    assert main(["tabular", name, f"--table={file}", *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("rnas: ") and shown.err.count("\n") == 1
    assert message in shown.err


@pytest.mark.parametrize("options", [[], ["search", "--table=x"], ["search", "--table=x", "--algorithm=annealing"]])
def test_a_question_that_cannot_be_read_is_refused(capsys, options):
    with pytest.raises(SystemExit) as leaving:
        main(["tabular", *options])
    assert leaving.value.code == 2 and capsys.readouterr().out == ""


def test_answers_start_no_device(file):
    program = (
        "import sys; from rnas.main import main; "
        f"code = main(['tabular', 'query', '--table={file}', '--arch=0']); sys.exit(code or 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_search_by_probabilities_is_judged(answer, means, tmp_path):
    rows = np.random.default_rng(0).dirichlet(np.ones(5), size=6)
    content = {"origin": {"method": "arnas"}, "operation_probabilities": rows.tolist()}
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    found = answer("judge", f"--workdir={tmp_path}", "--by=cifar10/pgd_8")
    chances = np.prod(rows[np.arange(6), encodings()], axis=1)
    best = int(chances.argmax())
    values = np.array([means[str(first)][4] for first in representatives()])
    assert found["found"]["id"] == best and found["origin"] == {"method": "arnas"}
    assert found["probability"] == pytest.approx(chances[best])
    assert found["better"] == (values > values[best]).mean()
    expected = found["expected"]["cifar10/pgd_8"]
    assert expected["searched"] == pytest.approx(chances @ values) and expected["uniform"] == pytest.approx(
        values.mean()
    )
    ranks = [rankdata(one) for one in (chances.round(15), values)]
    agreement = found["agreement"]["cifar10/pgd_8"]
    assert agreement["spearman"] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-4)
    assert agreement["count"] == 15_625 and len(found["agreement"]) == 18


def test_a_search_without_probabilities_is_not_judged(file, capsys, tmp_path):
    assert main(["tabular", "judge", f"--table={file}", f"--workdir={tmp_path}"]) == 2
    assert "holds no probabilities of operations" in capsys.readouterr().err
    for odd in ({"a": None}, [[None]], [0.2], "x"):
        (tmp_path / "architecture.json").write_text(json.dumps({"operation_probabilities": odd}))
        assert main(["tabular", "judge", f"--table={file}", f"--workdir={tmp_path}"]) == 2
        assert "architecture.json operation_probabilities: " in capsys.readouterr().err


def runs_table(path, figures):
    """A table of runs of CIFAR-10: id → accuracy, clean and under PGD."""
    metrics = {
        number: {"val_acc": {"0": clean}, "val_pgd_8.0_acc": {"0": robust}} for number, (clean, robust) in figures
    }
    path.write_text(json.dumps({"cifar10": metrics}))
    return path


def test_scores_without_a_class_in_common_are_refused(tmp_path, capsys):
    table = runs_table(tmp_path / "table.json", [("0", (0.5, 0.3)), ("1", (0.6, 0.2))])
    scores = runs_table(tmp_path / "scores.json", [("2", (0.5, 0.3))])
    for question in ("rank --by=cifar10/score_pgd_8", "rank", "correlate"):
        options = [*question.split(), f"--table={table}", f"--scores={scores}", "--partial"]
        assert main(["tabular", *options]) == 2
        assert "have no class in common: 1 and 2 classes" in capsys.readouterr().err


def test_a_column_without_figures_has_no_ranks(tmp_path, capsys):
    content = {"0": {"val_acc": {"0": 0.5}}, "1": {"val_acc": {"0": 0.6}}}
    (tmp_path / "table.json").write_text(json.dumps({"cifar10": content}))
    scores = runs_table(tmp_path / "scores.json", [("1", (0.5, 0.3)), ("2", (0.6, 0.3))])
    options = [f"--table={tmp_path / 'table.json'}", f"--scores={scores}", "--partial", "--json"]
    assert main(["tabular", "rank", "--by=cifar10/score_clean", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cell["id"] for cell in found["top"]] == [1]


def test_a_front_cannot_trade_what_is_the_same_everywhere(tmp_path, write, table_of_means, capsys):
    content = table_of_means()
    for entry in content.values():
        if isinstance(entry, list) and not isinstance(entry[0], str):
            entry[5] = 0.0
    table = write(tmp_path / "table.json", content)
    options = ["search", f"--table={table}", "--algorithm=random", "--budget=3", "--repeats=2"]
    assert main(["tabular", *options, "--objective=cifar10/clean,cifar10/autoattack"]) == 2
    assert "cifar10/autoattack: the same for all architectures" in capsys.readouterr().err
    assert main(["tabular", *options, "--objective=cifar10/autoattack"]) == 0


@pytest.mark.parametrize("name", ["rnas_cl/digits.py", "dsara/digits.py", "robbench/digits_search.py"])
def test_a_configuration_of_another_system_makes_no_table(tmp_path, capsys, name):
    config = Path(__file__).parents[2] / "configs" / name
    assert main(["tabular", "train", f"--config={config}", f"--workdir={tmp_path / 'new'}"]) == 2
    shown = capsys.readouterr().err
    assert f"{config} is the configuration of a run: rnas run reads it, rnas tabular does not." in shown
    assert not (tmp_path / "new").exists()

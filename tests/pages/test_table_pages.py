"""Pages of tables: what stands there is what the questions answer, and the front is one."""

import base64
import io
import json

import numpy as np
from PIL import Image
import pytest

from rnas.artifacts.files import write_json
from rnas.artifacts.table_results import Network, NetworkResult
from rnas.main import main
from rnas.pages import write_report
from rnas.spaces.nasbench201 import representatives, to_code

SEARCH = ("--budget=30", "--repeats=4", "--seed=3")


@pytest.fixture(scope="module")
def ask(file):
    """Asks a question and returns its JSON."""

    def ask(capsys, question, *options, table=file):
        assert main(["tabular", question, f"--table={table}", *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture(scope="module")
def written(file, tmp_path_factory):
    """(page of the complete table, what the command said of it)."""
    path = tmp_path_factory.mktemp("page") / "table.html"
    with pytest.MonkeyPatch.context() as patch:
        said = io.StringIO()
        patch.setattr("sys.stdout", said)
        assert main(["tabular", "report", f"--table={file}", f"--output={path}", *SEARCH, "--json"]) == 0
    return path, json.loads(said.getvalue())


def points(means):
    """(ids, clean and PGD-8 accuracy on CIFAR-10 [6466, 2])."""
    ids = np.unique(representatives())
    return ids, np.array([[means[str(number)][column] for column in (0, 4)] for number in ids])


def cells(page, first):
    """Rows of the page's tables whose first cell is one of `first`, without the spaces of the parser."""
    rows = [[cell.replace("\u202f", " ").strip() for cell in row] for row in page.rows]
    return [row for row in rows if row[0] in first]


def test_the_front_is_what_no_other_cell_beats(written, means, read_page):
    path, answer = written
    ids, found = points(means)
    as_good = (found[:, None] >= found[None]).all(-1)
    better = (found[:, None] > found[None]).any(-1)
    expected = ids[~(as_good & better).any(0)]
    members = answer["front"]["members"]
    assert sorted(cell["id"] for cell in members) == expected.tolist() and 2 < len(expected) < 40
    assert [cell["values"]["cifar10/clean"] for cell in members] == sorted(found[np.isin(ids, expected), 0])[::-1]
    page = read_page(path)
    shown = cells(page, [to_code(number) for number in expected])[: len(expected)]
    for row, cell in zip(shown, members, strict=True):
        clean, robust = cell["values"].values()
        assert row[:2] == [cell["code"], f"{cell['id']:,}"]
        assert [float(value) for value in row[2:4]] == pytest.approx([100 * clean, 100 * robust], abs=0.0051)
    assert f"The front, {len(expected)} of 6,466 classes" in page.said()


def test_the_page_answers_as_the_questions_do(written, ask, capsys):
    _, answer = written
    for key, question, *options in (
        ("rank", "rank", "--top=10"),
        ("agreement", "correlate"),
        ("best", "correlate", "--columns=cifar10/clean,cifar10/pgd_8", "--best=0.2"),
    ):
        said = ask(capsys, question, *options)
        assert answer[key] == {name: said[name] for name in answer[key]}, key
    for found in answer["searches"]:
        said = ask(capsys, "search", f"--algorithm={found['algorithm']}", *SEARCH)
        assert found == {name: said[name] for name in found}
    assert [found["algorithm"] for found in answer["searches"]] == ["random", "evolution", "local_search"]


def test_what_stands_on_the_page(written, means, read_page):
    path, answer = written
    page = read_page(path)
    ids, found = points(means)
    best = ids[np.lexsort((ids, -found[:, 1]))[:10]]
    table = cells(page, [to_code(number) for number in best])[-10:]
    assert [row[0] for row in table] == [to_code(number) for number in best]
    assert float(table[0][6]) == pytest.approx(100 * found[:, 1].max(), abs=0.0051)
    (summary,) = cells(page, ["cifar10/pgd_8"])
    figures = [np.median(found[:, 1]), found[:, 1].mean(), found[:, 1].max()]
    assert [float(value) for value in summary[1:4]] == pytest.approx([100 * value for value in figures], abs=0.0051)
    searches = cells(page, ["random", "evolution", "local search"])
    for row, said in zip(searches, answer["searches"], strict=True):
        mean, deviation = row[1].replace("\u00b1", "").split()
        chosen = said["chosen"]["cifar10/pgd_8"]
        assert [float(mean), float(deviation)] == pytest.approx([100 * chosen["mean"], 100 * chosen["std"]], abs=0.0051)
        assert float(row[2]) == pytest.approx(100 * said["curve"]["quantiles"]["0.5"][-1], abs=0.0051)
    said = page.said()
    assert (
        f"The most robust of 6,466 cells, {to_code(best[0])}, keeps" in said and "under PGD-20, \u03b5 = 8/255" in said
    )
    coefficient = answer["best"]["spearman"][0][1]
    assert f"coefficient of clean accuracy with PGD-20, \u03b5 = 8/255 is {coefficient:.3f}" in said


def test_the_page_needs_nothing_but_itself(written, read_page):
    path, _ = written
    page = read_page(path)
    shown = [image["src"].partition(",")[2] for image in page.all("img")]
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in page.all("img"))
    saved = {picture.stem: picture.read_bytes() for picture in path.with_suffix("").glob("*.png")}
    assert saved.keys() == {"front", "agreement", "search"}
    assert {base64.b64decode(data) for data in shown} == set(saved.values())
    assert all(np.asarray(Image.open(io.BytesIO(png)).convert("L")).std() > 1 for png in saved.values())
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"] for link in page.all("a")} == {f"#{anchor}" for anchor in anchors}


def test_a_table_with_holes_has_a_page_without_searches(write, tmp_path, read_page, ask, capsys):
    figures = {"0": (0.5, 0.3), "1": (0.7, 0.4), "2": (0.6, None), "3": (0.2, 0.35), "10": (0.65, 0.4)}
    content = {
        "digits": {
            number: {"val_acc": {"0": clean}} | ({"val_pgd_8.0_acc": {"0": robust}} if robust else {})
            for number, (clean, robust) in figures.items()
        }
    }
    table, path = write(tmp_path / "mine.json", content, prefix=""), tmp_path / "new" / "mine.html"
    options = ("--partial", "--by=digits/pgd_8", f"--output={path}")
    answer = ask(capsys, "report", *options, table=table)
    assert [cell["id"] for cell in answer["front"]["members"]] == [1] and answer["front"]["count"] == 4
    assert answer["searches"] == [] and answer["best"] is None
    assert answer["agreement"]["spearman"][0][1] == pytest.approx(3.5 / 22.5**0.5)  # ranks 2 4 1 3, 1 3.5 2 3.5
    said = read_page(path).said()
    assert "Searching the table" not in said and "The front, 1 of 4 classes" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output=report"], "expected a name that ends in .html"),
        (["--output=r.html", "--by=cifar10/pgd8"], "the nearest is 'cifar10/pgd_8'"),
        (["--output=r.html", "--repeats=0"], "repeats=0"),
    ],
)
def test_a_page_that_cannot_be_is_refused(file, capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["tabular", "report", f"--table={file}", *options]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


# -- a table in the making ---------------------------------------------------------------------------------

CELLS = {9930: 0.30, 2581: 0.26, 1000: 0.28, 10: 0.10}  # id → PGD-20 at 8/255 of seed 0


@pytest.fixture
def workdir(tmp_path):
    """Two seeds of four cells, one network of which is not finished."""
    config = {"system": "robbench", "archs": ["9930", "2581", "1000", "10"], "seeds": [0, 1],
              "data": {"name": "cifar10"}}  # fmt: skip
    write_json(tmp_path / "config.json", config)
    protocol = {
        "images": "ab" * 32, "data": {"held_out": 0}, "count": 500, "train": {"epochs": 3, "batch_size": 64,
        "weights": "own"}, "adversarial": {"steps": 7, "epsilon": "8/255", "step_size": "2/255"},
    }  # fmt: skip
    for number, robust in CELLS.items():
        for seed in (0, 1):
            if (number, seed) == (10, 1):
                continue
            accuracy = {"clean": robust + 0.2 - 0.01 * seed, "pgd_8": robust + 0.02 * seed}
            more = {"failed_checks": ["F"] if number == 2581 else []} if seed == 0 else {}
            if seed == 0:
                accuracy["autoattack"] = robust - 0.02
            result = NetworkResult.of(Network(number, seed), dataset="cifar10", accuracy=accuracy, protocol=protocol,
                                      count=500, **more)  # fmt: skip
            result.write(tmp_path)
    return tmp_path


def test_the_results_so_far(workdir, read_page):
    page = read_page(write_report(workdir))
    rows = cells(page, [to_code(number) for number in CELLS])[: len(CELLS)]
    assert [row[0] for row in rows] == ["333133", "132013", "323133", "333000"]  # by the mean over seeds
    assert rows[0][1:4] == ["9,930", "0, 1", "49.5 50.0, 49.0"]
    assert rows[0][4:] == ["31.0 30.0, 32.0", "28.0"] and rows[3][2:] == ["0", "30.0", "10.0", "8.0"]
    said = page.said()
    assert "7 of 8 networks have a result." in said
    assert "Self-checks F of AutoAttack on 323133, seed 0, failed" in said and said.count("Self-checks") == 1
    assert "7 of 8 networks trained: 333133 keeps 31.00 % under PGD-20, \u03b5 = 8/255" in said
    assert "PGD-7, \u03b5 = 8/255, step 2/255" in said and "500 test images" in said
    assert "Beside the published table" not in said


def test_the_ranking_beside_a_published_table(workdir, file, means, read_page):
    page = read_page(write_report(workdir, [file]))
    theirs = {number: means[str(number)][4] for number in CELLS}
    order = sorted(CELLS, key=lambda number: -theirs[number])
    rows = [row for row in cells(page, [to_code(number) for number in CELLS]) if len(row) == 5]
    assert [row[0] for row in rows] == ["333133", "132013", "323133", "333000"]
    assert [int(row[1]) for row in rows] == [1, 2, 3, 4]
    for row, number in zip(rows, (9930, 1000, 2581, 10), strict=True):
        assert int(row[2]) == 1 + order.index(number)
        assert float(row[4]) == pytest.approx(100 * theirs[number], abs=0.0051)
    ranks = np.array([[1, 1 + order.index(9930)], [2, 1 + order.index(1000)], [3, 1 + order.index(2581)],
                      [4, 1 + order.index(10)]])  # fmt: skip
    expected = np.corrcoef(ranks.T)[0, 1]
    (agreement,) = [row for row in cells(page, ["PGD-20, \u03b5 = 8/255"]) if len(row) == 4]
    assert float(agreement[1]) == pytest.approx(expected, abs=6e-4) and agreement[3] == "4"
    with pytest.raises(ValueError, match="2 tables"):
        write_report(workdir, [file, file])


def test_nothing_finished_yet(tmp_path, read_page):
    write_json(
        tmp_path / "config.json", {"system": "robbench", "archs": ["10"], "seeds": [0], "data": {"name": "digits"}}
    )
    assert "0 of 1 networks have a result." in read_page(write_report(tmp_path)).said()

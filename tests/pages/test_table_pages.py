"""Pages of tables: their figures are those of the queries, and the front is one."""

import dataclasses
import io
import json

import numpy as np
import pytest

from rnas.artifacts.files import write_json
from rnas.artifacts.table_results import Network, NetworkResult, result_file
from rnas.main import main
from rnas.pages import site
from rnas.pages.canvas import Picture
from rnas.pages.table_page import table_context, training_context, write_training_page
from rnas.spaces.nasbench201 import representatives, to_code
from rnas.tabular import load_robbench, queries

SEARCH = {"budget": 30, "repeats": 4, "seed": 3}
OPTIONS = [f"--{name}={value}" for name, value in SEARCH.items()]
PGD = "PGD-20 (step \u03b5/8), \u03b5 = 8/255"


@pytest.fixture(scope="module")
def query_json(file):
    """Returns the JSON of a query."""

    def query_json(capsys, query, *options, table=file):
        assert main(["tabular", query, f"--table={table}", *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return query_json


@pytest.fixture(scope="module")
def written(file, tmp_path_factory):
    """(page of the complete table, the answer of the command)."""
    path = tmp_path_factory.mktemp("page") / "table.html"
    with pytest.MonkeyPatch.context() as patch:
        shown = io.StringIO()
        patch.setattr("sys.stdout", shown)
        assert main(["tabular", "report", f"--table={file}", f"--output={path}", *OPTIONS, "--json"]) == 0
    return path, json.loads(shown.getvalue())


@pytest.fixture(scope="module")
def page(file, written):
    """Data of that page."""
    return table_context(load_robbench(file), written[1])


def content(page, anchor):
    return page["sections"][anchor].content


def figures(cells):
    return [float(cell.text) for cell in cells]


def points(means):
    """(ids, clean and PGD-8 accuracy on CIFAR-10 [6466, 2])."""
    ids = np.unique(representatives())
    return ids, np.array([[means[str(number)][column] for column in (0, 4)] for number in ids])


def test_the_front_is_what_no_other_cell_beats(written, page, means):
    _, answer = written
    ids, found = points(means)
    as_good = (found[:, None] >= found[None]).all(-1)
    better = (found[:, None] > found[None]).any(-1)
    expected = ids[~(as_good & better).any(0)]
    members = answer["front"]["members"]
    assert sorted(cell["id"] for cell in members) == expected.tolist() and 2 < len(expected) < 40
    assert [cell["values"]["cifar10/clean"] for cell in members] == sorted(found[np.isin(ids, expected), 0])[::-1]
    table = content(page, "front")["table"]
    for row, cell in zip(table.rows, members, strict=True):
        assert [row[0].text, row[1].text] == [cell["code"], str(cell["id"])]
        shares = [100 * value for value in cell["values"].values()]
        assert figures(row[2:4]) == pytest.approx(shares, abs=0.0051)
    assert table.caption == f"The front, {len(expected)} of 6,466 classes"


def test_the_page_answers_as_the_queries_do(written, file, query_json, capsys):
    _, answer = written
    for key, query, *options in (
        ("rank", "rank", "--top=10"),
        ("agreement", "correlate"),
        ("best", "correlate", "--columns=cifar10/clean,cifar10/pgd_8", "--best=0.2"),
    ):
        expected = query_json(capsys, query, *options)
        assert answer[key] == {name: expected[name] for name in answer[key]}, key
    for found in answer["searches"]:
        expected = query_json(capsys, "search", f"--algorithm={found['algorithm']}", *OPTIONS)
        assert found == {name: expected[name] for name in found}
    assert [found["algorithm"] for found in answer["searches"]] == ["random", "evolution", "local_search"]
    overview = queries.overview(load_robbench(file), "cifar10/pgd_8", searches=SEARCH)
    assert json.loads(json.dumps(overview)) == {name: answer[name] for name in overview}


def test_figures_of_the_page(written, page, means):
    _, answer = written
    ids, found = points(means)
    best = [to_code(number) for number in ids[np.lexsort((ids, -found[:, 1]))[:10]]]
    rows = content(page, "best")["table"].records()
    assert [row["Cell"] for row in rows] == best
    assert float(rows[0][PGD]) == pytest.approx(100 * found[:, 1].max(), abs=0.0051)
    (summary,) = [row for row in content(page, "columns")["table"].rows if row[0].text == "cifar10/pgd_8"]
    expected = [np.median(found[:, 1]), found[:, 1].mean(), found[:, 1].max()]
    assert figures(summary[1:4]) == pytest.approx([100 * value for value in expected], abs=0.0051)
    for row, search in zip(content(page, "search")["table"].rows, answer["searches"], strict=True):
        chosen = search["chosen"]["cifar10/pgd_8"]
        shown = [float(row[1].text), float(row[1].below.removeprefix("\u00b1 ")), float(row[2].text)]
        expected = [chosen["mean"], chosen["std"], search["curve"]["quantiles"]["0.5"][-1]]
        assert shown == pytest.approx([100 * value for value in expected], abs=0.0051)
    assert page["legend"].startswith("A cell\u2019s code has a digit for each of its edges 0 \u2192 1, 0 \u2192 2,")
    assert "3 conv 3\u00d73" in page["legend"]
    assert page["title"].startswith(f"The best of 6,466 cells, {best[0]}, keeps")
    assert page["title"].endswith(f"under {PGD}")
    among = content(page, "agreement")["among_best"]
    assert (among["robust"], among["coefficient"].value) == (PGD, answer["best"]["spearman"][0][1])


def test_files_of_the_page(written, page, read_page):
    path, _ = written
    pictures = [item for item in site.contents(page) if isinstance(item, Picture)]
    assert [picture.name for picture in pictures] == ["front", "agreement", "search"]
    for picture in pictures:
        file = path.with_suffix("") / "figures" / f"{picture.name}.svg"
        assert file.read_bytes() == picture.data and file.read_text().count("<path") > 10
    tables = {file.stem for file in (path.with_suffix("") / "tables").glob("*.csv")}
    assert tables == {"front", "best", "searches", "columns"}
    html = read_page(path)
    assert [image["alt"] for image in html.all("img")] == [picture.alt for picture in pictures]
    assert all(image["src"].startswith("data:image/") for image in html.all("img"))


@pytest.mark.slow
def test_the_page_in_a_browser(check_page, written):
    check_page(written[0])


def test_a_table_with_holes_has_a_page_without_searches(write, tmp_path, read_page, query_json, capsys):
    accuracies = {"0": (0.5, 0.3), "1": (0.7, 0.4), "2": (0.6, None), "3": (0.2, 0.35), "10": (0.65, 0.4)}
    runs = {
        "digits": {
            number: {"val_acc": {"0": clean}} | ({"val_pgd_8.0_acc": {"0": robust}} if robust else {})
            for number, (clean, robust) in accuracies.items()
        }
    }
    table, path = write(tmp_path / "mine.json", runs, prefix=""), tmp_path / "new" / "mine.html"
    options = ("--partial", "--by=digits/pgd_8", f"--output={path}")
    answer = query_json(capsys, "report", *options, table=table)
    assert [cell["id"] for cell in answer["front"]["members"]] == [1] and answer["front"]["count"] == 4
    assert answer["searches"] == [] and answer["best"] is None
    assert answer["agreement"]["spearman"][0][1] == pytest.approx(3.5 / 22.5**0.5)  # ranks 2 4 1 3, 1 3.5 2 3.5
    text = read_page(path).said()
    assert "Searching the table" not in text and "The front, 1 of 4 classes" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output=report"], "one that ends in .html"),
        (["--output=r.html", "--by=cifar10/pgd8"], "the nearest is 'cifar10/pgd_8'"),
        (["--output=r.html", "--repeats=0"], "repeats=0"),
        (["--output=r.html", "--by=cifar10/macs"], "cifar10/macs is a cost"),
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
            result.write(result_file(tmp_path, result.network))
    return tmp_path


def shown(row):
    """Text of the cells of a row, what is below a figure behind it."""
    return [f"{cell.text} {cell.below}".strip() for cell in row]


def test_the_results_so_far(workdir, read_page):
    page = training_context(workdir)
    rows = [shown(row) for row in content(page, "results").rows]
    assert [row[0] for row in rows] == ["333133", "132013", "323133", "333000"]  # by the mean over seeds
    assert rows[0][1:4] == ["9930", "0, 1", "49.5 50.0, 49.0"]
    assert rows[0][4:] == ["31.0 30.0, 32.0", "28.0"] and rows[3][2:] == ["0", "30.0", "10.0", "8.0"]
    assert page["unfinished"] == "7 of 8 networks have a result."
    (warning,) = page["warnings"]
    assert warning.startswith("Sanity checks F of AutoAttack on 323133, seed 0, failed")
    assert page["title"] == f"7 of 8 networks trained: 333133 keeps 31.00\u202f% under {PGD}"
    assert "beside" not in page["sections"]
    html = read_page(write_training_page(workdir)).said()
    assert "Attack in trainingPGD-7 (step \u03b5/4), \u03b5 = 8/255" in html and "Judged on500 test images, the" in html
    assert "Unfinished. 7 of 8 networks" in html and "Sanity checks F" in html and "50.0, 49.0" in html


def test_the_ranking_beside_a_published_table(workdir, file, means):
    beside = content(training_context(workdir, load_robbench(file)), "beside")
    theirs = {number: means[str(number)][4] for number in CELLS}
    order = sorted(CELLS, key=lambda number: -theirs[number])
    rows = beside["order"].rows
    assert [row[0].text for row in rows] == ["333133", "132013", "323133", "333000"]
    assert figures(row[1] for row in rows) == [1, 2, 3, 4]
    for row, number in zip(rows, (9930, 1000, 2581, 10), strict=True):
        assert int(row[2].text) == 1 + order.index(number)
        assert float(row[4].text) == pytest.approx(100 * theirs[number], abs=0.0051)
    ranks = [[1 + place, 1 + order.index(number)] for place, number in enumerate((9930, 1000, 2581, 10))]
    (agreement,) = [row for row in beside["agreement"].rows if row[0].text == PGD]
    assert agreement[1].value == pytest.approx(np.corrcoef(np.transpose(ranks))[0, 1]) and agreement[3].text == "4"
    with pytest.raises(ValueError, match="2 tables"):
        write_training_page(workdir, [file, file])


def test_the_last_iterate_stands_beside_the_published_one(workdir, file):
    """The published accuracies under PGD count the last iterate."""
    for path in (workdir / "results").glob("*.json"):
        result = NetworkResult.read(path)
        accuracy = {**result.accuracy, "pgd_8_last": 0.5 - result.accuracy["pgd_8"]}  # the opposite order
        dataclasses.replace(result, accuracy=accuracy).write(path)
    beside = content(training_context(workdir, load_robbench(file)), "beside")
    assert [row[0].text for row in beside["order"].rows] == ["333000", "323133", "132013", "333133"]
    labels = [row[0].text for row in beside["agreement"].rows]
    assert PGD not in labels and "PGD-20 (step \u03b5/8), last iterate, \u03b5 = 8/255" in labels


def test_nothing_finished_yet(tmp_path, read_page):
    config = {"system": "robbench", "archs": ["10"], "seeds": [0], "data": {"name": "digits"}}
    write_json(tmp_path / "config.json", config)
    assert "0 of 1 networks have a result." in read_page(write_training_page(tmp_path)).said()

"""The base of all pages: a template filled with data, and its tables and pictures as files."""

import csv
import io

import jinja2
import pytest

from rnas.artifacts.scores import Score
from rnas.pages import site
from rnas.pages.canvas import draw
from rnas.pages.site import Fold, Tile
from rnas.pages.table import Cell, Table, accuracy, settings_table, short

TEMPLATE = """{% extends "base.html" %}
{% import "macros.html" as ui with context %}
{% block opening %}{{ ui.tiles(tiles) }}{{ ui.cautions(warnings) }}{% endblock %}
{% block results %}
{{ ui.table(sections.results.content.scores) }}
{{ ui.figure(sections.results.content.curve, "Caption") }}
{{ ui.fold(sections.results.content.settings) }}
{% endblock %}
"""
SCORES = Table(
    "scores",
    ["Model", "Parameters", Cell("PGD-100", "\u03b5 = 8/255")],
    [
        ["student_1 & co", short(123_456), accuracy(Score(0.6125, 360, (0.5, 0.7)))],
        ["<b>teacher</b>", Cell(), Cell()],
    ],
    caption="Scores",
    unit="accuracy in %",
    below="interval",
)


def line(figure):
    figure.subplots().plot([1, 2], [3, 1], label="a curve")
    figure.axes[0].legend()


def context(**changed):
    content = {
        "scores": SCORES,
        "curve": draw("curve", "A falling line.", (300, 200), line),
        "settings": Fold("Configuration", settings_table("settings", {"data": {"name": "digits"}})),
    }
    return {
        "title": "A <result>",
        "eyebrow": "rnas",
        "tiles": [Tile("Clean", "91.3 %", {"teacher": "95.0 %"})],
        "warnings": ["1 < 2"],
        "sections": site.sections(results=("Results", content), empty=("Empty", [])),
    } | changed


@pytest.fixture
def template(monkeypatch):
    environment = site._environment()
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"try.html": TEMPLATE}), environment.loader])
    monkeypatch.setattr(environment, "loader", loader)
    return "try.html"


def test_a_page_escapes_its_data_and_links_its_sections(template):
    html = site.render(template, context())
    assert "<h1>A &lt;result&gt;</h1>" in html and "&lt;b&gt;teacher&lt;/b&gt;" in html and "1 &lt; 2" in html
    assert '<a href="#results">Results</a>' in html and "Empty" not in html
    assert "default-src 'none'" in html and "<script" not in html and "http" not in html.replace("http-equiv", "")


def test_a_page_that_lacks_data_is_no_page(template):
    lacking = context()
    del lacking["warnings"]
    with pytest.raises(jinja2.UndefinedError, match="warnings"):
        site.render(template, lacking)


def test_files_beside_a_page_and_the_same_bytes_again(template, tmp_path):
    def written():
        site.publish(tmp_path / "report.html", template, context())
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}

    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "figures" / "former.png").write_bytes(b"of an earlier page")
    first = written()
    names = ["figures/curve.svg", "tables/scores.csv", "tables/scores.tex"]
    names += ["tables/settings.csv", "tables/settings.tex"]
    assert sorted(first) == ["report.html", *(f"report/{name}" for name in names)]
    assert written() == first
    page = first["report.html"].decode()
    assert all(f'href="report/{name}"' in page for name in names)


def test_two_tables_of_one_name_are_refused(template, tmp_path):
    other = Table("scores", ["Model"], [["another"]])
    with pytest.raises(AssertionError, match="scores.csv"):
        site.publish(tmp_path / "report.html", template, context(more=other))


def test_csv_holds_numbers_in_full_and_intervals_in_their_own_column():
    rows = list(csv.DictReader(io.StringIO(SCORES.csv())))
    column = "PGD-100, \u03b5 = 8/255"
    assert rows[0] == {
        "Model": "student_1 & co",
        "Parameters": "123456",
        column: "61.25",
        f"{column}: interval": "50.0\u201370.0",
    }
    assert rows[1] == {"Model": "<b>teacher</b>", "Parameters": "", column: "", f"{column}: interval": ""}


def test_latex_is_escaped_and_aligned():
    lines = SCORES.latex().splitlines()
    assert r"\begin{tabular}{lrr}" in lines and r"\toprule" in lines and r"\bottomrule" in lines
    assert r"student\_1 \& co & 123\,k & \textbf{61.3} {\scriptsize 50.0--70.0} \\" in lines
    assert r"Model & Parameters & PGD-100 {\scriptsize $\varepsilon$ = 8/255} \\" in lines


def test_a_picture_names_what_its_legend_prints():
    picture = draw("curve", "A falling line.", (300, 200), line)
    assert picture.labels == ("a curve",)
    assert picture.source.startswith("data:image/svg+xml;base64,")
    assert picture == draw("curve", "A falling line.", (300, 200), line)

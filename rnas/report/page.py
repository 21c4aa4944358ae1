"""The page of a run: what was found, how it was measured, and how to have it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnas.report import sections
from rnas.report.canvas import Picture
from rnas.report.drawing import draw_network, draw_tutors
from rnas.report.headline import headline, lead, tiles
from rnas.report.markup import Markup, element
from rnas.report.pictures import Example, adversarial_examples
from rnas.report.plots import plot_learning, plot_robustness
from rnas.report.record import STAGES, Record, read_record
from rnas.report.scores import Results, cautions, read_results
from rnas.report.style import STYLE

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(workdir: str | Path) -> Path:
    """Writes `report.html`, one file with everything in it, and its pictures as PNG files under `report/`.

    What the run has not made yet is left out, and named as missing. The same files give the same bytes.

    Args:
        workdir: the work directory of a run, finished or not.

    Returns:
        The path of the page.

    Raises:
        ValueError: `workdir` holds no run, or one of its files cannot be read or contradicts itself; the
            message names the file.
    """
    workdir = Path(workdir)
    record = read_record(workdir)
    results = read_results(record)
    plots = _plots(record, results)
    examples = adversarial_examples(record.adversarial, results.epsilon) if record.adversarial else []
    text = _page(record, results, plots, examples)
    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    for picture in (*plots.values(), *(example.strip for example in examples)):
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    path = workdir / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _plots(record: Record, results: Results) -> dict[str, Picture]:
    drawn = [plot_robustness(results)]
    if record.architecture.get("blocks"):
        drawn.append(draw_network(record.architecture))
    if record.architecture.get("tutors"):
        drawn.append(draw_tutors(record.architecture))
    for stage in record.learning_stages():
        splits = (record.metrics.get((stage, split), []) for split in ("train", "validation"))
        drawn.append(plot_learning(stage, *splits))
    return {picture.name: picture for picture in drawn if picture is not None}


def _page(record: Record, results: Results, plots: Mapping[str, Picture], examples: list[Example]) -> str:
    title = headline(record, results)
    parts = [
        ("results", "Results", sections.results(results, plots)),
        ("student", "The student", sections.student(record, plots)),
        ("tutors", "Who learns from whom", sections.tutors(record, plots)),
        ("learning", "Learning", sections.learning(record, plots)),
        ("images", "Adversarial images", sections.images(record, results, examples)),
        ("protocol", "Protocol", sections.protocol(record, results)),
        ("run", "The run", sections.run(record)),
    ]
    parts = [part for part in parts if part[2]]
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in parts]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Markup(STYLE)),
    ]
    main = [
        element("p", _eyebrow(record), class_="eyebrow"),
        element("h1", title),
        lead(results),
        tiles(record, results),
        _notes(record, results),
        element("nav", links, aria_label="Contents"),
        [element("section", element("h2", name), content, id=anchor) for anchor, name, content in parts],
    ]
    document = element("html", element("head", head), element("body", element("main", main)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _eyebrow(record: Record) -> str:
    """Program, dataset and search space, as far as the run names them."""
    dataset = record.evaluation.get("dataset", {}).get("name") or record.setting("data.name")
    space = record.architecture.get("space") or record.setting("space")
    words = ("rnas", dataset, space and f"space {space}")
    return " \u00b7 ".join(str(word) for word in words if word)


def _notes(record: Record, results: Results) -> list[Any]:
    states = {stage: record.status(stage) for stage in STAGES}
    missing = [f"{stage} ({state})" for stage, state in states.items() if state in ("unfinished", "not run")]
    warnings = [element("li", warning) for warning in cautions(record, results)]
    notes = []
    if missing:
        notes.append(sections.note("Unfinished.", f"Missing stages: {', '.join(missing)}."))
    if warnings:
        notes.append(sections.note("Read with care.", element("ul", warnings)))
    return notes

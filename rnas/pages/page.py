"""The page of a run, what was found, how it was measured and how to have it again; and that of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnas.pages import sections, suite
from rnas.pages.attacks import read_suite, read_suites, suite_cautions, with_suites
from rnas.pages.canvas import Picture
from rnas.pages.cells import blocks
from rnas.pages.choices import plot_choices
from rnas.pages.comparison import comparison, read_runs
from rnas.pages.document import care, document, dotted, save
from rnas.pages.drawing import draw_network, draw_tutors
from rnas.pages.graph import draw_cells
from rnas.pages.headline import headline, lead, tiles
from rnas.pages.naming import method_label
from rnas.pages.parts import note
from rnas.pages.pictures import adversarial_examples
from rnas.pages.plots import plot_learning, plot_robustness
from rnas.pages.record import STAGES, Record, read_object, read_record
from rnas.pages.scores import Results, cautions, read_results


def write_report(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html`, one file with everything in it, and its pictures as PNG files under `report/`.

    What the run has not made yet is left out, and named as missing. The same files give the same bytes. The work
    directories of `rnas tabular train` and `rnas ntk` have pages of their own.

    Args:
        workdir: the work directory of a run, finished or not.
        beside: work directories of other runs, to show in one table with it; of a table in the making, a published one.

    Returns:
        The path of the page.

    Raises:
        ValueError: `workdir` holds no run, or one of its files cannot be read or contradicts itself (the
            message names the file); the same of a directory of `beside`, or one is given twice.
    """
    workdir = Path(workdir)
    # Imported late: these packages draw by this one.
    if (workdir / "ntk.json").exists():
        from rnas.pages.kernel_page import write_study_page

        if beside:
            raise ValueError(f"{workdir} holds a study of tangent kernels; nothing can stand beside it.")
        return write_study_page(workdir)
    if read_object(workdir / "config.json").get("system") == "robbench":
        from rnas.pages.table_page import write_training_page

        return write_training_page(workdir, beside)
    record = read_record(workdir)
    measured = read_results(record)
    suites, unfinished = read_suites(workdir, record.label)
    runs = read_runs([workdir, *map(Path, beside)]) if beside else []
    results = with_suites(measured, suites)
    plots = _plots(record, results)
    examples = adversarial_examples(record.adversarial, results.epsilon) if record.adversarial else []
    attacked = [suite.illustrate(one) for one in suites]
    notes = _notes(record, unfinished, [*cautions(record, results), *suite_cautions(suites, measured)])
    text = document(
        title=headline(record, results),
        eyebrow=_eyebrow(record),
        opening=[lead(record, results), tiles(record, results), notes],
        parts=[
            ("results", "Results", sections.results(record, results, plots)),
            ("beside", "Beside other runs", comparison(runs)),
            ("attack-suite", "Attack suite", suite.section(attacked, unfinished)),
            ("network", f"The {record.noun}", sections.network(record, plots)),
            ("search", "How the search decided", sections.search(record, plots)),
            ("tutors", "Who learns from whom", sections.tutors(record, plots)),
            ("learning", "Learning", sections.learning(record, plots)),
            ("images", "Adversarial images", sections.images(record, results, examples)),
            ("protocol", "Protocol", sections.protocol(record, results)),
            ("run", "The run", sections.run(record)),
        ],
    )
    pictures = [*plots.values(), *(example.strip for example in examples)]
    return save(workdir / "report.html", text, [*pictures, *(picture for one in attacked for picture in one.pictures)])


def write_attack_page(folder: str | Path) -> Path:
    """Writes `report.html` and `report/` of one evaluation of the attack suite into its own folder.

    Args:
        folder: what the evaluation left, `attack.json` and arrays; it needs no run beside it.

    Returns:
        The path of the page. The same files give the same bytes.

    Raises:
        ValueError: `folder` holds no finished evaluation, or one of its files cannot be read or contradicts
            itself; the message names the file.
    """
    folder = Path(folder)
    one = read_suite(folder)
    if one is None:
        raise ValueError(f"{folder} holds no finished evaluation (attack.json, complete); finish it first")
    illustrated = suite.illustrate(one)
    dataset = (one.summary.get("dataset") or {}).get("name")
    text = document(
        title=suite.title(one),
        eyebrow=dotted("rnas", "attack suite", dataset, one.summary["model"].get("architecture")),
        opening=[care(suite_cautions([one]))],
        parts=suite.parts(illustrated),
    )
    return save(folder / "report.html", text, illustrated.pictures)


def _plots(record: Record, results: Results) -> dict[str, Picture]:
    drawn = [plot_robustness(results)]
    for kind, edges in record.cells.items():
        drawn.append(draw_cells(f"cell_{kind}", {kind: edges}))
    if blocks(record.architecture):
        drawn.append(draw_network(record.architecture))
    drawn += [draw_cells(f"cells_{name}", cells) for name, cells in record.other_cells.items()]
    for kind, choices in record.choices.items():
        drawn.append(plot_choices(kind, choices, record.cells.get(kind, ()), record.second_stage))
    if record.architecture.get("tutors"):
        drawn.append(draw_tutors(record.architecture))
    for stage in record.learning_stages():
        splits = (record.metrics.get((stage, split), []) for split in ("train", "validation"))
        drawn.append(plot_learning(stage, *splits, record.second_stage if stage == "search" else None))
    return {picture.name: picture for picture in drawn if picture is not None}


def _eyebrow(record: Record) -> str:
    """Program, dataset, search space and, of cells, where they come from, as far as the run names them."""
    dataset = record.evaluation.get("dataset", {}).get("name") or record.setting("data.name")
    space = record.architecture.get("space") or record.setting("space")
    cells = record.origin and f"cells: {method_label(record.origin)}"
    return dotted("rnas", dataset, space and f"space {space}", cells)


def _notes(record: Record, unfinished: list[str], warnings: list[str]) -> list[Any]:
    states = {stage: record.status(stage) for stage in STAGES}
    missing = [f"{stage} ({state})" for stage, state in states.items() if state in ("unfinished", "not run")]
    said = [f"Missing stages: {', '.join(missing)}."] if missing else []
    if unfinished:
        said.append(f"Attack evaluations begun: {', '.join(unfinished)}.")
    return [note("Unfinished.", " ".join(said)) if said else None, care(warnings)]

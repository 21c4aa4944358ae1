"""The page of a run: what was found, how it was measured, and how to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnas.artifacts.evaluation import ModelScores
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.attack_page import overview, suite_parts
from rnas.pages.cells import COLLAPSED, Graph, blocks, graphs, search_space
from rnas.pages.comparison import comparison, method, read_runs
from rnas.pages.curves import plot_choices, plot_learning, plot_robustness, read_choices
from rnas.pages.drawings import draw_cells, draw_network, draw_tutors, words
from rnas.pages.pictures import gallery
from rnas.pages.quantity import compact, duration, exact, norm_label, percent
from rnas.pages.results import (
    HEADLINE_ATTACK,
    Results,
    Spread,
    accuracy_of,
    by_radius,
    cautions,
    overlap,
    read_results,
    spread,
    suite_cautions,
)
from rnas.pages.site import Fold, Tile, dotted, publish, sections
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy, settings_table, share, short, text, whole
from rnas.pages.workdir import STAGES, Workdir, read_workdir

_SHOWN = 8  # adversarial images


def write_report(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html`, one file with everything in it, and its tables and figures as files under `report/`.

    What the run has not made yet is left out, and named as missing. The same files give the same bytes.

    Args:
        workdir: the work directory of a run, finished or not.
        beside: work directories of other runs, to show in one table with it.

    Returns:
        The path of the page.

    Raises:
        ValueError: `workdir` holds no run, or one of its files cannot be read or contradicts itself (the
            message names the file); the same of a directory of `beside`, or one is given twice.
        OSError: a file could not be written.
    """
    return publish(Path(workdir) / "report.html", "run.html", run_context(workdir, beside))


def run_context(workdir: str | Path, beside: Sequence[str | Path] = ()) -> dict[str, Any]:
    """The context of the page of a run; arguments and errors as of `write_report`."""
    files = read_workdir(workdir)
    results = read_results(files)
    runs = read_runs([Path(workdir), *map(Path, beside)]) if beside else []
    missing = {stage: status for stage in STAGES if (status := files.status(stage)) in ("unfinished", "not run")}
    held_out = files.setting("data.held_out")
    warnings = [*_collapsed(graphs(files.architecture)), *cautions(results, held_out)]
    return {
        "title": _title(files, results),
        "eyebrow": _eyebrow(files),
        "noun": files.noun,
        "results": results,
        "lead": _lead(results),
        "tiles": _tiles(files, results),
        "missing": missing,
        "unfinished_attacks": files.unfinished,
        "warnings": [*warnings, *suite_cautions(files.attacks, files.evaluation)],
        "two_stages": files.second_stage is not None,
        "sections": sections(
            results=("Results", _results(results)),
            beside=("Beside other runs", comparison(runs)),
            attack_suite=("Attack suite", _attack_suite(files)),
            network=(f"The {files.noun}", _network(files)),
            search=("How the search decided", _search(files)),
            tutors=("Tutors of the student layers", _tutors(files)),
            learning=("Learning", _learning(files)),
            images=("Adversarial images", _images(files, results)),
            protocol=("Protocol", _protocol(files, results)),
            run=("The run", _run(files)),
        ),
    }


# -- the top -------------------------------------------------------------------------------------------------


def _eyebrow(files: Workdir) -> str:
    """Program, data, search space and, of cells, where they come from, as far as the run names them."""
    dataset = files.evaluation.dataset.get("name") if files.evaluation else None
    space = getattr(getattr(files.architecture, "space", None), "name", None) or files.setting("space")
    cells = None if files.origin is None else method(files)
    if cells and "published" not in files.origin:
        cells = f"cells by {cells}"
    return dotted("rnas", dataset or files.setting("data.name"), space and f"space {space}", cells)


def _title(files: Workdir, results: Results) -> str:
    """As much of the result as there is."""
    params, score = files.size.get("params"), results.headline("student")
    subject = f"The {files.noun}" if params is None else f"A {files.noun} of {exact(params)} parameters"
    if score:
        at = f"{label_of(results.attack)} at \u03b5 = {results.radius(results.epsilon)}"
        return f"{subject} keeps {percent(score.accuracy)} accuracy under {at}"
    if results.student:
        return f"{subject} reaches {percent(results.student.clean.accuracy)} clean accuracy"
    return f"No {files.noun} yet" if params is None else f"{subject}, not yet evaluated"


def _lead(results: Results) -> dict[str, Any] | None:
    """What the first paragraph states: the models beside the student under one attack, and what is established."""
    if results.student is None:
        return None
    alone = {kind: next(iter(results.of_kind(kind)), None) for kind in ("plain", "no_distillation", "teacher")}
    random = results.of_kind("random")
    attack = results.comparable([*filter(None, alone.values()), *random])
    own = results.headline("student", attack)
    drawn = [score for name in random if (score := results.headline(name, attack))]
    best = max(drawn, key=lambda score: score.accuracy, default=None)
    return {
        "clean": results.student.clean.accuracy,
        "attack": label_of(attack),
        "is_headline": attack == results.attack,
        "own": accuracy_of(own),
        "kept": {kind: accuracy_of(score) for kind, name in alone.items() if (score := results.headline(name, attack))},
        "random": spread(map(accuracy_of, drawn)),
        "as_good": sum(score.accuracy >= own.accuracy for score in drawn) if own else 0,
        "random_overlaps": overlap(own, best),
        "untaught_overlaps": overlap(own, results.headline(alone["no_distillation"], attack)),
    }


def _tiles(files: Workdir, results: Results) -> list[Tile]:
    """Parameters, MACs, clean and adversarial accuracy of the student, large; what it is compared with below."""
    at = "" if results.epsilon is None else f", \u03b5 = {results.radius(results.epsilon)}"

    def under(attack: str) -> Callable[[str, ModelScores], float | None]:
        return lambda name, model: accuracy_of(results.headline(name, attack))

    shown = [
        _tile("Parameters", results, lambda _, model: model.params, compact, files.size.get("params")),
        _tile("MACs per image", results, lambda _, model: model.macs, compact, files.size.get("macs")),
        _tile("Clean accuracy", results, lambda _, model: model.clean.accuracy, percent),
        *(
            _tile(f"{label_of(attack)}{at}", results, under(attack), percent)
            for attack in dict.fromkeys((results.attack, HEADLINE_ATTACK))
        ),
    ]
    return [tile for tile in shown if tile]


def _tile(
    title: str,
    results: Results,
    value: Callable[[str, ModelScores], float | None],
    in_words: Callable[[float], str],
    otherwise: float | None = None,
) -> Tile | None:
    """One figure of the student (or `otherwise`, before its evaluation) above those it is compared with."""
    values = {name: value(name, model) for name, model in results.models.items()}
    own = values.get("student", otherwise)
    own = otherwise if own is None else own
    if own is None:
        return None
    random = spread(values[name] for name in results.of_kind("random"))
    beside = {} if random is None else {f"{random.size} random" if random.size > 1 else "random": random.mean}
    for kind, label in (("plain", "plain baseline"), ("teacher", "teacher")):
        for name in results.of_kind(kind):
            beside |= {} if values[name] is None else {label: values[name]}
    return Tile(title, in_words(own), {label: in_words(other) for label, other in beside.items()})


def _collapsed(found: dict[str, Graph]) -> list[str]:
    return [
        f"{graph.title} has collapsed: {graph.weightless} of its {len(graph.edges)} operations are pools or skips, so "
        "few of its operations have weights to learn."
        for graph in found.values()
        if graph.weightless >= COLLAPSED
    ]


# -- results -------------------------------------------------------------------------------------------------


def _results(results: Results) -> dict[str, Any] | None:
    """Accuracy of every model at every radius, in figures and as curves."""
    if not results.models:
        return None
    radii = list(dict.fromkeys(epsilon for model in results.models.values() for epsilon in by_radius(model)))
    curves = [model.curve for model in results.models.values() if model.curve]
    return {
        "tables": [_accuracy_table(results, epsilon) for epsilon in radii or [None]],
        "kinds": {model.kind for model in results.models.values()},
        "robustness": plot_robustness(results),
        "curve_attack": label_of(curves[0].attack) if curves else "",
    }


def _accuracy_table(results: Results, epsilon: float | None) -> Table:
    """A row per model; without a radius clean accuracy alone."""
    attacks = list(dict.fromkeys(name for model in results.models for name in results.at(model, epsilon)))
    rows = []
    for name, model in results.models.items():
        scores = results.at(name, epsilon)
        rows.append(
            [
                model.label,
                short(model.params),
                short(model.macs),
                accuracy(model.clean),
                *(accuracy(scores.get(attack), model.clean.count) for attack in attacks),
            ]
        )
    random = results.of_kind("random")
    if len(random) > 1:
        rows.insert(1, _mean_row(results, random, epsilon, attacks))
    versions = {
        attack: score.settings.get("version", "")
        for name in results.models
        for attack, score in results.at(name, epsilon).items()
    }
    columns = ["Model", "Parameters", "MACs", "Clean", *(Cell(label_of(name), versions[name]) for name in attacks)]
    words = "Clean" if epsilon is None else f"\u03b5 = {results.radius(epsilon)}"
    name = "clean" if epsilon is None else f"accuracy_{results.radius(epsilon).replace('/', '_')}"
    return Table(name, columns, rows, words, UNIT, INTERVAL, "accuracy first")


def _mean_row(results: Results, random: Sequence[str], epsilon: float | None, attacks: Sequence[str]) -> list[Any]:
    """Mean of the random networks, its standard deviation below."""
    models = [results.models[name] for name in random]
    sizes = [spread(getattr(model, size) for model in models) for size in ("params", "macs")]
    shares = [spread(model.clean.accuracy for model in models)]
    shares += [spread(accuracy_of(results.at(name, epsilon).get(attack)) for name in random) for attack in attacks]
    return [
        Cell(f"Random networks, mean of {len(models)}", "\u00b1 standard deviation"),
        *(size and Cell(compact(size.mean), _deviation(size, compact), size.mean) or "" for size in sizes),
        *("" if found is None else share(found.mean, 1, _deviation(found, _points), "strong") for found in shares),
    ]


def _deviation(values: Spread, in_words: Callable[[float], str]) -> str:
    return f"\u00b1 {in_words(values.deviation)}"


def _points(value: float) -> str:
    return percent(value, unit=False)


def _attack_suite(files: Workdir) -> dict[str, Any] | None:
    if not files.attacks and not files.unfinished:
        return None
    return {
        "unfinished": files.unfinished,
        "overview": overview(files.attacks) if len(files.attacks) > 1 else None,
        "evaluations": [suite_parts(folder) for folder in files.attacks],
    }


# -- the network and its search ------------------------------------------------------------------------------


def _network(files: Workdir) -> dict[str, Any] | None:
    """The network that the search derived: its cells if it has any, and its blocks."""
    found = graphs(files.architecture)
    if not found and not blocks(files.architecture):
        return None
    others = {name: list(graphs(other).values()) for name, other in files.others.items()}
    return {
        "size": files.size if len(files.size) == 2 else None,
        "tabular": "cell" in found,
        "cells": [(graph, draw_cells(f"cell_{kind}", [graph])) for kind, graph in found.items()],
        "drawing": draw_network(files.architecture) if blocks(files.architecture) else None,
        "cell_table": Fold("Cells in words", _cell_table(list(found.values())) if found else None),
        "block_table": Fold("Blocks in figures", None if found else _block_table(files)),
        "others": [
            Fold(f"{files.label(f'baseline_{name}')}, cells", draw_cells(f"cells_{name}", cells))
            for name, cells in others.items()
            if cells
        ],
    }


def _cell_table(found: Sequence[Graph]) -> Table:
    """The edges into every node: operation and source, of two a node the stronger first."""
    nodes = found[0].nodes
    rows = [
        [
            graph.kind,
            *(
                ", ".join(words(graph, edge).rpartition(" to ")[0] for edge in graph.edges if edge.node == node)
                for node in nodes
            ),
        ]
        for graph in found
    ]
    return Table("cells", ["Cell", *(f"Node {node}" for node in nodes)], rows)


def _block_table(files: Workdir) -> Table:
    """Every block with what it kept and the probability of each option."""
    built = blocks(files.architecture)
    odds = getattr(files.architecture, "width_probabilities", ()) or [[]] * len(built)
    rows = []
    for block, probabilities in zip(built, odds, strict=True):
        options = zip(block.options, probabilities, strict=False)
        rows.append(
            [
                block.name,
                *map(whole, (block.stage, block.resolution, block.stride, block.expansion)),
                Cell(f"{block.width} of {block.most}"),
                ", ".join(f"{width}: {p:.2f}" for width, p in options),
            ]
        )
    head = ["Block", "Stage", "Resolution", "Stride", "Expansion", "Channels kept", "Probability of each width"]
    return Table("blocks", head, rows)


def _search(files: Workdir) -> dict[str, Any] | None:
    """How the search came to its cells."""
    rows = files.metrics.get(("search", "architecture"), [])
    if not rows:
        return None
    cells = graphs(files.architecture)
    choices = read_choices(rows, search_space(files.setting("space")))
    return {
        "kept": bool(cells),
        "plots": [
            Fold(found.graph.title, plot_choices(found, cells.get(kind), files.second_stage), True)
            for kind, found in choices.items()
        ],
    }


def _tutors(files: Workdir) -> dict[str, Any] | None:
    """Which teacher layer every student layer learns from."""
    assignment = files.architecture.tutor_assignment if files.architecture else None
    if not assignment or not assignment.tutors:
        return None
    taps = files.architecture.taps
    rows_of_odds = assignment.probabilities if len(assignment.probabilities) else [()] * len(taps)
    odds = [dict(zip(assignment.teacher_taps, row, strict=False)) for row in rows_of_odds]
    rows = [
        [layer, tutor, Cell(f"{p:.3f}", value=p) if (p := known.get(tutor)) is not None else Cell()]
        for layer, tutor, known in zip(taps, assignment.tutors, odds, strict=True)
    ]
    return {
        "layers": len(taps),
        "choices": len(assignment.teacher_taps),
        "teacher": assignment.teacher.get("architecture", ""),
        "used": len(set(assignment.tutors)),
        "map": draw_tutors(files.architecture),
        "table": Fold("Tutors in words", Table("tutors", ["Student layer", "Tutor", "Probability"], rows)),
    }


def _learning(files: Workdir) -> list[Fold]:
    """What every stage recorded while it trained."""
    titles = {"search": "Search", "train": files.label("student"), "finetune": f"{files.label('student')}, fine-tuning"}
    shown = []
    for stage in files.learning_stages:
        train, validation = (files.metrics.get((stage, split), []) for split in ("train", "validation"))
        plot = plot_learning(stage, train, validation, files.second_stage if stage == "search" else None)
        if plot:
            shown.append(Fold(titles.get(stage) or files.label(stage), plot, stage in ("search", "train")))
    return shown


def _images(files: Workdir, results: Results) -> dict[str, Any] | None:
    """A few images before and after the attack."""
    if files.images is None:
        return None
    names = files.evaluation.dataset.get("class_names") or () if files.evaluation else ()
    found = gallery(files.images, results.epsilon, names, _SHOWN)
    return found and {"gallery": found, "attack": label_of(HEADLINE_ATTACK)}


# -- how to repeat it ----------------------------------------------------------------------------------------


def _protocol(files: Workdir, results: Results) -> dict[str, Any] | None:
    """How the figures were measured."""
    if results.student is None:
        return None
    dataset = files.evaluation.dataset
    seeds = {"training": files.setting("seed"), "evaluation": files.evaluation.seed}
    return {
        "norm": norm_label(results.norm),
        "radii": ", ".join(map(results.radius, by_radius(results.student))),
        "images": results.student.clean.count,
        "held_out": files.setting("data.held_out"),
        "seeds": ", ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None),
        "attacks": _attack_table(results),
        "auto_attack": results.attack == AUTO_ATTACK,
        "rnas_cl": files.origin is None,
        "dataset": Fold("Data", settings_table("data", dataset) if dataset else None),
    }


def _attack_table(results: Results) -> Table | None:
    """How each accuracy of the student was measured: every attack at every radius."""
    rows = []
    for epsilon in by_radius(results.student):
        for name, score in results.at("student", epsilon).items():
            step, *rest = (score.settings.get(key) for key in ("step_size", "steps", "restarts", "start", "loss"))
            rows.append(
                [
                    Cell(label_of(name), score.settings.get("version", "")),
                    results.radius(epsilon),
                    Cell() if step is None else Cell(results.radius(step)),
                    *map(text, rest),
                    whole(score.count),
                ]
            )
    columns = ["Attack", "\u03b5", "Step", "Steps", "Restarts", "Start", "Loss", "Images"]
    return Table("attacks", columns, rows, "Attacks", below="version") if rows else None


def _run(files: Workdir) -> dict[str, Any]:
    """The command, versions, wall times, and every setting."""
    return {
        "record": files.run,
        "versions": next((made.versions for made in (files.run, files.evaluation) if made), {}),
        "teacher": files.architecture.tutor_assignment.teacher if files.architecture else {},
        "stages": _stage_table(files),
        "config": Fold("Configuration", settings_table("config", files.config) if files.config else None),
    }


def _stage_table(files: Workdir) -> Table:
    """Every stage with its status and wall time, and how often it was begun."""
    stages = files.run.stages if files.run else {}
    rows = []
    for name in dict.fromkeys((*STAGES, *stages)):
        known = stages.get(name)
        wall = Cell(duration(known.seconds), value=known.seconds) if known else Cell()
        rows.append([name, files.status(name), whole(known.starts if known else None), wall])
    spent = sum(stage.seconds for stage in stages.values())
    rows.append(["total", "", "", Cell(duration(spent), value=spent)])
    return Table("stages", ["Stage", "Status", "Starts", "Wall time"], rows, "Stages")

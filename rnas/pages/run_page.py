"""The page of a run: what was found, how it was measured, and how to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rnas.artifacts.study_results import models_of
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.attack_page import attack_suite
from rnas.pages.canvas import gallery
from rnas.pages.cells import Graph, blocks, graphs, search_space
from rnas.pages.comparison import comparison, method, read_runs
from rnas.pages.corruption_page import corruptions_of_run, under_corruptions
from rnas.pages.curves import plot_choices, plot_learning, plot_robustness, read_choices
from rnas.pages.decisions import decisions
from rnas.pages.deployed import deployed, latency_tile
from rnas.pages.differences import Family, baseline_families, established, families_of_pairs, shown
from rnas.pages.drawings import draw_cells, draw_network, draw_tutors
from rnas.pages.quantity import compact, exact, norm_label, percent
from rnas.pages.results import (
    HEADLINE_ATTACK,
    Results,
    by_radius,
    cautions,
    read_results,
    short_label,
    spread,
    suite_cautions,
)
from rnas.pages.site import Fold, Tile, publish, say, sections
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy, seconds, settings_table, share, short, text, whole
from rnas.pages.workdir import STAGES, Workdir, read_workdir

_SHOWN = 8  # adversarial images


def write_report(workdir: str | Path, beside: Sequence[str | Path] = ()) -> Path:
    """Writes `report.html`, one file with all in it, and its tables and figures under `report/`; returns its path.

    What the run has not made yet is left out, and named as missing. The same files give the same bytes.

    Args:
        workdir: the work directory of a run, finished or not.
        beside: work directories of other runs, to show in one table with it.

    Raises:
        ValueError: a directory holds no run or is given twice, or a file cannot be read or contradicts itself.
        OSError: a file could not be written.
    """
    return publish(Path(workdir) / "report.html", "run.html", run_context(workdir, beside))


def run_context(workdir: str | Path, beside: Sequence[str | Path] = ()) -> dict[str, Any]:
    """The context of the page of a run; arguments and errors as of `write_report`."""
    files = read_workdir(workdir)
    results = read_results(files)
    differences = baseline_families(results)
    runs = read_runs([Path(workdir), *map(Path, beside)]) if beside else []
    missing = {stage: status for stage in STAGES if (status := files.status(stage)) in ("unfinished", "not run")}
    dataset = files.evaluation.dataset if files.evaluation else {}
    images = files.images and gallery(files.images, results.epsilon, dataset.get("class_names") or (), _SHOWN)
    config = Fold("Configuration", settings_table("config", files.config))
    warnings = cautions(results, files.setting("data.held_out"), graphs(files.architecture).values())
    return {
        "title": say("run_title", files, results),
        "eyebrow": say("run_eyebrow", files, method(files)),
        "files": files,
        "results": results,
        "lead": _lead(results, next(iter(differences), None)),
        "tiles": _tiles(files, results),
        "missing": missing,
        "warnings": [*warnings, *suite_cautions(files.attacks, files.evaluation)],
        "sections": sections(
            results=("Results", _results(results)),
            differences=("Differences", _differences(files, results, differences)),
            beside=("Beside other runs", comparison(runs)),
            deployed=("As deployed", deployed(files)),
            attack_suite=("Attack suite", attack_suite(files)),
            corruptions=("Common corruptions", corruptions_of_run(files)),
            network=(f"The {files.noun}", _network(files)),
            search=("How the search decided", _search(files)),
            tutors=("Tutors of the student layers", _tutors(files)),
            decisions=("The search, epoch by epoch", decisions({"": files.history}, {"": files.architecture})),
            learning=("Learning", _learning(files)),
            images=("Adversarial images", images and {"gallery": images, "attack": label_of(HEADLINE_ATTACK)}),
            protocol=("Protocol", results.student and _protocol(files, results)),
            run=("The run", {"stages": _stage_table(files), "config": config}),
        ),
    }


def _lead(results: Results, differences: Family | None) -> dict[str, Any] | None:
    """What the first paragraph states: the models beside the student under one attack, and what is established.

    `differences` are those of the baselines to the student at the radius of the headline.
    """
    if results.student is None:
        return None
    alone = {kind: next(iter(results.of_kind(kind)), None) for kind in ("plain", "no_distillation", "teacher")}
    random = results.of_kind("random")
    attack = results.comparable([*filter(None, alone.values()), *random])
    own = results.headline("student", attack)
    scores = {name: score for name in random if (score := results.headline(name, attack))}
    drawn = list(scores.values())
    best = max(scores, key=lambda name: scores[name].accuracy, default=None)
    tested = differences.compared if differences and differences.attack == attack else {}
    return {
        "clean": results.student.clean.accuracy,
        "attack": label_of(attack),
        "is_headline": attack == results.attack,
        "own": own and own.accuracy,
        "kept": {kind: score.accuracy for kind, name in alone.items() if (score := results.headline(name, attack))},
        "random": spread(score.accuracy for score in drawn),
        "as_good": sum(score.accuracy >= own.accuracy for score in drawn) if own else 0,
        "best_random": tested.get(best),
        "beats_random": established(tested.get(best)),
        "untaught": tested.get(alone["no_distillation"]),
        "beats_untaught": established(tested.get(alone["no_distillation"])),
    }


def _tiles(files: Workdir, results: Results) -> list[Tile]:
    """Parameters, MACs, latency, clean and adversarial accuracy of the student, large; others to compare with below."""
    models, radius = results.models, results.radius(results.epsilon)
    shown: list[tuple[str, Callable[[float], str], dict[str, Any], Any]] = [
        (title, compact, {name: getattr(model, size) for name, model in models.items()}, files.size.get(size))
        for title, size in (("Parameters", "params"), ("MACs per image", "macs"))
    ]
    shown.append(("Clean accuracy", percent, {name: model.clean.accuracy for name, model in models.items()}, None))
    for attack in dict.fromkeys((results.attack, AUTO_ATTACK, HEADLINE_ATTACK)):
        under = {name: results.headline(name, attack) for name in models}
        kept = {name: score.accuracy if score else None for name, score in under.items()}
        at, images = f"\u03b5 = {radius}" if radius else "", results.fewer(under.get("student"))
        shown.append((", ".join(filter(None, (label_of(attack), at, images))), percent, kept, None))
    tiles = []
    for title, in_words, values, before_evaluation in shown:
        own = before_evaluation if values.get("student") is None else values["student"]
        random = spread(values[name] for name in results.of_kind("random"))
        beside = {f"{random.size} random" if random.size > 1 else "random": random.mean} if random else {}
        for kind, label in (("plain", "plain baseline"), ("teacher", "teacher")):
            known = [values[name] for name in results.of_kind(kind) if values[name] is not None]
            beside |= {label: known[-1]} if known else {}
        if own is not None:
            tiles.append(Tile(title, in_words(own), {label: in_words(other) for label, other in beside.items()}))
    size = sum(tile.title in ("Parameters", "MACs per image") for tile in tiles)
    return [*tiles[:size], *latency_tile(files), *tiles[size:]]


def _results(results: Results) -> dict[str, Any] | None:
    """Accuracy of every model at every radius, in figures and as curves."""
    if not results.models:
        return None
    radii = dict.fromkeys(epsilon for model in results.models.values() for epsilon in by_radius(model))
    curves = [model.curve for model in results.models.values() if model.curve]
    return {
        "tables": [_accuracy_table(results, epsilon) for epsilon in radii or [None]],
        "kinds": {model.kind for model in results.models.values()},
        "robustness": plot_robustness(results),
        "curve_attack": label_of(curves[0].attack) if curves else "",
    }


def _differences(files: Workdir, results: Results, found: Sequence[Family]) -> dict[str, Any] | None:
    """The baselines beside the student, or the pairs that the configuration compares, tested on the same images."""
    labels = {name: model.label for name, model in results.models.items()}
    pairs = {}
    for versus in files.setting("comparisons") or ():
        arms = models_of(versus)
        if len(arms) == 2 and set(arms) <= labels.keys():
            pairs[versus] = (arms[0], arms[1])
            labels[versus] = " \u2212 ".join(short_label(labels[arm]) for arm in arms)
    if not pairs:
        return shown(found, labels, files.noun.capitalize(), results)
    return shown(families_of_pairs(results, pairs), labels, "the second", results)


def _accuracy_table(results: Results, epsilon: float | None) -> Table:
    """A row per model, and one of the mean of the random networks; without a radius clean accuracy alone."""
    scores = {name: results.at(name, epsilon) for name in results.models}
    versions = {name: score.settings.get("version", "") for of in scores.values() for name, score in of.items()}
    rows: list[list[Any]] = []
    corrupted = epsilon == results.epsilon and any(model.corruptions for model in results.models.values())
    for name, model in results.models.items():
        kept = (accuracy(scores[name].get(attack), model.clean.count) for attack in versions)
        own = [under_corruptions(model)] * corrupted
        rows.append([model.label, short(model.params), short(model.macs), accuracy(model.clean), *kept, *own])
    if len(random := results.of_kind("random")) > 1:
        models = [results.models[name] for name in random]
        sizes = [spread(getattr(model, size) for model in models) for size in ("params", "macs")]
        shares = [spread(model.clean.accuracy for model in models)]
        drawn = [[scores[name].get(attack) for name in random] for attack in versions]
        shares += [spread(score.accuracy if score else None for score in of) for of in drawn]
        mean: list[Any] = [Cell(f"Random networks, mean of {len(models)}", "\u00b1 standard deviation")]
        for size in sizes:
            mean.append(Cell(compact(size.mean), f"\u00b1 {compact(size.deviation)}", size.mean) if size else "")
        for found in shares:
            deviation = found and f"\u00b1 {percent(found.deviation, unit=False)}"
            mean.append(share(found.mean, 1, deviation, "strong") if found else "")
        if corrupted:
            found = spread(each.corruptions.accuracy if each.corruptions else None for each in models)
            mean.append(
                share(found.mean, 1, f"\u00b1 {percent(found.deviation, unit=False)}", "strong") if found else ""
            )
        rows.insert(1, mean)
    columns = ["Model", "Parameters", "MACs", "Clean", *(Cell(label_of(name), versions[name]) for name in versions)]
    columns += ["Corruptions"] * corrupted
    radius = results.radius(epsilon)
    name, caption = (f"accuracy_{radius.replace('/', '_')}", f"\u03b5 = {radius}") if radius else ("clean", "Clean")
    return Table(name, columns, rows, caption, UNIT, INTERVAL, "accuracy first")


def _network(files: Workdir) -> dict[str, Any] | None:
    """The network that the search derived: its cells if it has any, and its blocks."""
    found, built = graphs(files.architecture), blocks(files.architecture)
    if not found and not built:
        return None
    others = {name: list(graphs(other).values()) for name, other in files.others.items()}
    return {
        "tabular": "cell" in found,
        "cells": [(graph, draw_cells(f"cell_{kind}", [graph])) for kind, graph in found.items()],
        "drawing": draw_network(files.architecture) if built else None,
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
        [graph.kind, *(", ".join(graph.words(edge) for edge in graph.edges if edge.node == node) for node in nodes)]
        for graph in found
    ]
    return Table("cells", ["Cell", *(f"Node {node}" for node in nodes)], rows)


def _block_table(files: Workdir) -> Table:
    """Every block with what it kept and the probability of each option."""
    built = blocks(files.architecture)
    odds = getattr(files.architecture, "width_probabilities", ()) or [[]] * len(built)
    rows = []
    for block, probabilities in zip(built, odds, strict=True):
        kept, options = f"{block.width} of {block.most}", zip(block.options, probabilities, strict=False)
        resolution = "×".join(map(str, block.resolution))
        figures = whole(block.stage), resolution, whole(block.stride), whole(block.expansion)
        rows.append([block.name, *figures, kept, ", ".join(f"{width}: {p:.2f}" for width, p in options)])
    head = ["Block", "Stage", "Resolution", "Stride", "Expansion", "Channels kept", "Probability of each width"]
    return Table("blocks", head, rows)


def _search(files: Workdir) -> dict[str, Any] | None:
    """How the search came to its cells."""
    cells = graphs(files.architecture)
    choices = read_choices(files.metrics.get(("search", "architecture"), []), search_space(files.setting("space")))
    plots = [
        Fold(found.graph.title, plot_choices(found, cells.get(kind), files.second_stage), True)
        for kind, found in choices.items()
    ]
    return {"kept": bool(cells), "plots": plots} if plots else None


def _tutors(files: Workdir) -> dict[str, Any] | None:
    """Which teacher layer every student layer learns from."""
    assignment = files.architecture.tutor_assignment if files.architecture else None
    if not assignment or not assignment.tutors:
        return None
    taps, teacher = files.architecture.taps, assignment.teacher_taps
    rows: list[list[Any]] = [[layer, tutor, ""] for layer, tutor in zip(taps, assignment.tutors, strict=True)]
    for row, odds in zip(rows, assignment.probabilities, strict=False):
        row[2] = Cell(f"{odds[teacher.index(row[1])]:.3f}", value=odds[teacher.index(row[1])])
    table = Table("tutors", ["Student layer", "Tutor", "Probability"], rows)
    return {"of": assignment, "map": draw_tutors(files.architecture), "table": Fold("Tutors in words", table)}


def _learning(files: Workdir) -> list[Fold]:
    """What every stage recorded while it trained."""
    titles = {"search": "Search", "train": files.label("student"), "finetune": f"{files.label('student')}, fine-tuning"}
    shown = []
    for stage in files.learning_stages:
        train, validation = (files.metrics.get((stage, split), []) for split in ("train", "validation"))
        if plot := plot_learning(stage, train, validation, files.second_stage if stage == "search" else None):
            shown.append(Fold(titles.get(stage) or files.label(stage), plot, stage in ("search", "train")))
    return shown


def _protocol(files: Workdir, results: Results) -> dict[str, Any]:
    """How the figures were measured."""
    seeds = {"training": files.setting("seed"), "evaluation": files.evaluation.seed}
    return {
        "norm": norm_label(results.norm),
        "radii": ", ".join(map(results.radius, by_radius(results.student))),
        "seeds": ", ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None),
        "attacks": _attack_table(results),
        "checkpoints": Fold("Checkpoints", _checkpoint_table(results)),
        "dataset": Fold("Data", settings_table("data", files.evaluation.dataset)),
    }


def _attack_table(results: Results) -> Table | None:
    """How each accuracy of the student was measured: every attack at every radius."""
    by = by_radius(results.student)
    measured = [(name, score, epsilon) for epsilon, scores in by.items() for name, score in scores.items()]

    def setting(key: str) -> Callable[[tuple], Cell]:
        return lambda row: text(row[1].settings.get(key))

    columns = {
        "Attack": lambda row: Cell(label_of(row[0]), row[1].settings.get("version", "")),
        "\u03b5": lambda row: results.radius(row[2]),
        "Step": lambda row: results.radius(row[1].settings.get("step_size")),
        **{key.capitalize(): setting(key) for key in ("steps", "restarts", "start", "loss")},
        "Images": lambda row: whole(row[1].count),
    }
    return Table.of("attacks", measured, columns, "Attacks", below="version") if measured else None


def _checkpoint_table(results: Results) -> Table | None:
    """Which step of which stage each model is, and why that one."""
    rows: list[list[Any]] = []
    for model in results.models.values():
        if found := model.checkpoint:
            why = f"best on {exact(found.images)} held-out images" if found.choice == "best" else "last of the stage"
            score = "" if found.score is None else Cell(f"{found.score:.4f}", value=found.score)
            rows.append([model.label, found.stage, whole(found.step), why, score])
    return Table("checkpoints", ["Model", "Stage", "Step", "Choice", "Score"], rows) if rows else None


def _stage_table(files: Workdir) -> Table:
    """Every stage with its status and wall time, and how often it was begun."""
    stages = files.run.stages if files.run else {}
    rows: list[list[Any]] = []
    # The page itself is the stage `report`, which is not over while it draws.
    for name in dict.fromkeys((*STAGES, *(stage for stage in stages if stage != "report"))):
        known = stages.get(name)
        times = [whole(known.starts), seconds(known.seconds)] if known else ["", ""]
        compiling = "" if known is None or known.compiling is None else seconds(known.compiling)
        rows.append([name, files.status(name), *times, compiling])
    known = [stage.compiling for stage in stages.values() if stage.compiling is not None]
    total = seconds(sum(stage.seconds for stage in stages.values()))
    rows.append(["total", "", "", total, seconds(sum(known)) if known else ""])
    return Table("stages", ["Stage", "Status", "Starts", "Wall time", "of it compiling"], rows, "Stages")

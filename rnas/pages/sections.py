"""The sections of the page; each is empty where the run has nothing to show in it yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnas.pages import tables
from rnas.pages.canvas import Picture
from rnas.pages.cells import cell_name
from rnas.pages.markup import Markup, element
from rnas.pages.naming import is_method, is_published, model_label
from rnas.pages.parts import example_figure, fact_list, figure, folded, image, note
from rnas.pages.pictures import Example, magnification
from rnas.pages.quantity import exact, norm_label
from rnas.pages.record import Record
from rnas.pages.scores import AUTO_ATTACK, HEADLINE_ATTACK, Results, attack_label

_ANEW = "is the same network trained anew from the same initial weights without"
_BLOCKS = (
    "Channels each block kept (filled, number above) of the most it could have (outline, number below); thin "
    "lines are the other widths it could choose from. Image on the left, classes on the right."
)
_CELLS = (
    "The cells from image (left) to classes: the number above each is its channels C, and 4C leave it. Cells of one "
    "type have the same operations."
)
_GRAPH = (
    " are the outputs of the two cells before, every node adds up what reaches it, and the output is the four nodes "
    "side by side. Separable convolutions are blue, dilated ones orange, pools green, skips dashed."
)
_IN_TABLE = (
    "State 0 is the output of the block before, every node adds up what reaches it, and node 3 is the output. "
    "Convolutions of 3\u00d73 are blue, of 1\u00d71 purple, pools green, skips dashed, edges without any dotted."
)
_STRIDE = " The operations on the two inputs have stride 2."
_RANDOM = (
    "Random networks have cells drawn uniformly from the space of the search, stacked and trained like the {noun}; "
    "what it has over them is the part of its cells."
)
_METHODS = (
    "Baselines named after a method were trained by it alone: architecture, initial weights and the number of steps are "
    "those of {own}."
)
_PUBLISHED_CELLS = "Networks named after a paper have the cells published there, stacked and trained in the same way."
_MAP = (
    "Probability of every teacher layer (column) as tutor of every student layer (row); the dot marks the "
    "one chosen. Bars count how often each teacher layer was chosen."
)
_CHOICES = (
    "Probability (%) of every operation on every edge while the search ran: nodes down, the states they can take "
    "across. {kept}The panel to the right is the entropy over that of a uniform choice, mean over all edges.{mark}"
)
_KEPT = "Edges that were kept are tinted, the operation they kept is named and drawn thick. "
_SECOND_STAGE = " Dotted: the second stage begins, which also heeds the natural loss."
_LINES = "Solid lines: training batches, averaged where there are many. Dashed lines with dots: held-out images."
_NO_PROOF = (
    "A figure under attack is what these attacks did not break, an upper bound of robust accuracy. Others, "
    "AutoAttack or one made for this network, may find more."
)
_STILL_NO_PROOF = (
    "AutoAttack is the figure to quote, PGD's stands beside it for comparison. It too is what these attacks did "
    "not break, an upper bound of robust accuracy; one made for this network may find more."
)
_OTHER_UNIT = (
    "The released code of RNAS-CL attacks images after normalisation, where 8/255 is about 2/255 in pixels; "
    "what its tables measured cannot be known. They compare at best with \u03b5 = 2/255 here."
)
_OTHER_PROTOCOL = (
    "Tables of robust cells differ in the radius (8/255 or 0.031), in the step of PGD-20 (2/255 or 0.01) and in the "
    "checkpoint they judge (best on test images, or last). Only figures that agree with those above in radius, step "
    "and start compare, and none was chosen on test images here."
)


def results(record: Record, results: Results, plots: Mapping[str, Picture]) -> list[Any]:
    """Accuracy of every model at every radius, in figures and as curves."""
    if not results.models:
        return []
    content: list[Any] = [
        *tables.accuracy_tables(results),
        element("p", words) if (words := _baselines(record, results)) else None,
    ]
    if "robustness" in plots:
        caption = "Accuracy under PGD-20 as the ball grows; at radius 0 it is clean accuracy."
        if any(score.interval for model in results.models.values() for _, score in model.curve):
            caption += " Bands are 95\u202f% Wilson intervals."
        content.append(figure(plots["robustness"], caption))
    return content


def _baselines(record: Record, results: Results) -> str:
    """What the networks trained for comparison are, as far as there are any."""
    said, own = [], f"the {record.noun}"
    untaught, taught = "baseline_no_distillation" in results.models, "teacher" in results.models
    if untaught:
        said.append(
            f"The baseline without distillation {_ANEW} the teacher: what {own} has over it is the teacher's part."
        )
    if "baseline_plain" in results.models:
        without = "adversarial images and the teacher" if taught or untaught else "adversarial images"
        over = "the baseline without distillation" if untaught else own
        part = "the part of both" if taught and not untaught else "adversarial training's part"
        said.append(f"The plain baseline {_ANEW} {without}: what {over} has over it is {part}.")
    if any(is_method(name) for name in results.models):
        said.append(_METHODS.format(own=own))
    if results.random:
        said.append(_RANDOM.format(noun=record.noun))
    if any(is_published(name) for name in results.models):
        said.append(_PUBLISHED_CELLS)
    return " ".join(said)


def network(record: Record, plots: Mapping[str, Picture]) -> list[Any]:
    """The network the search derived: its cells if it has any, and its blocks."""
    architecture = record.architecture
    if "architecture" not in plots and not record.cells:
        return []
    params, macs = (architecture.get(key) for key in ("params", "macs"))
    size = None
    if params is not None and macs is not None:
        size = f"{exact(params)} parameters; {exact(macs)} multiply-accumulates in convolutions and classifier."
    return [
        size and element("p", size),
        element("p", _graph(record)) if record.cells else None,
        [
            figure(plots[f"cell_{kind}"], f"{cell_name(kind)}.{_STRIDE if kind == 'reduce' else ''}")
            for kind in record.cells
        ],
        figure(plots["architecture"], _CELLS if record.cells else _BLOCKS) if "architecture" in plots else None,
        folded("Cells in words", tables.cell_table(record.cells)) if record.cells else None,
        folded("Blocks in figures", tables.block_table(architecture)) if architecture.get("blocks") else None,
        [_plot(f"{model_label(f'baseline_{name}')}, cells", plots[f"cells_{name}"]) for name in record.other_cells],
    ]


def _graph(record: Record) -> Any:
    if "cell" in record.cells:
        return _IN_TABLE
    return [tables.state(0), " and ", tables.state(1), _GRAPH]


def search(record: Record, plots: Mapping[str, Picture]) -> list[Any]:
    """How the search came to its cells."""
    if not record.choices:
        return []
    mark = "" if record.second_stage is None else _SECOND_STAGE
    return [
        element("p", _CHOICES.format(kept=_KEPT if record.cells else "", mark=mark)),
        [_plot(cell_name(kind), plots[f"choices_{kind}"], unfolded=True) for kind in record.choices],
    ]


def _plot(title: str, picture: Picture, unfolded: bool = False) -> Markup:
    """A plot without caption behind its title."""
    return folded(title, element("div", image(picture), class_="plot fit"), unfolded)


def tutors(record: Record, plots: Mapping[str, Picture]) -> list[Any]:
    """Which teacher layer every student layer learns from."""
    if "tutors" not in plots:
        return []
    architecture = record.architecture
    layers, choices = len(architecture["student_taps"]), len(architecture["teacher_taps"])
    teacher = architecture.get("teacher", {}).get("architecture")
    used = len(set(architecture["tutors"]))
    text = (
        f"Each of the {layers} student layers could learn from any of {choices} layers of its teacher"
        f"{f' ({teacher})' if teacher else ''}; together they chose {used} of them."
    )
    return [
        element("p", text),
        figure(plots["tutors"], _MAP),
        folded("Tutors in words", tables.tutor_table(architecture)),
    ]


def learning(record: Record, plots: Mapping[str, Picture]) -> list[Any]:
    """What every stage recorded while it trained."""
    shown = [stage for stage in record.learning_stages() if f"learning_{stage}" in plots]
    if not shown:
        return []
    mark = "" if record.second_stage is None else _SECOND_STAGE
    titles = {
        "search": "Search",
        "train": record.label("student"),
        "finetune": f"{record.label('student')}, fine-tuning",
    }
    return [
        element("p", _LINES + mark),
        [
            _plot(titles.get(stage) or record.label(stage), plots[f"learning_{stage}"], stage in ("search", "train"))
            for stage in shown
        ],
    ]


def images(record: Record, results: Results, examples: list[Example]) -> list[Any]:
    """A few images before and after the attack."""
    if not examples:
        return []
    names = record.evaluation.get("dataset", {}).get("class_names")
    factor = magnification(record.adversarial, results.epsilon)
    text = (
        f"Test images, clean, after {attack_label(HEADLINE_ATTACK)} on the {record.noun}, and their difference "
        f"\u00d7\u202f{factor:.3g} around grey. They were picked to show attacks that succeed, so they "
        "do not tell how often that happens."
    )
    return [
        element("p", text),
        element("div", [example_figure(example, names) for example in examples], class_="examples"),
    ]


def protocol(record: Record, results: Results) -> list[Any]:
    """How the figures were measured and what they do not say."""
    student = results.models.get("student")
    if student is None:
        return []
    radii = ", ".join(map(results.radius, student.attacks))
    seeds = {"training": record.setting("seed"), "evaluation": record.evaluation.get("seed")}
    facts = {
        "Threat model": f"every image within an {norm_label(results.norm)} ball of radius \u03b5, pixels in [0, 1]; "
        "the attacker knows the network and its gradient",
        "Radii \u03b5": radii,
        "Test images": student.clean and student.clean.count and exact(student.clean.count),
        "Counting": "an image counts as lost when any iterate of any restart fools the network",
        "Model choice": _model_choice(record.setting("data.held_out")),
        "Seeds": ", ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None),
        "Network": "running BatchNorm statistics; any normalisation is its first layer, so attacks see pixels",
    }
    dataset = record.evaluation.get("dataset", {})
    return [
        fact_list(facts),
        tables.attack_table(results) if student.attacks else None,
        note("No attack is a proof.", _STILL_NO_PROOF)
        if results.attack == AUTO_ATTACK
        else note("PGD is no proof.", _NO_PROOF),
        note("Published figures may be in another unit.", _OTHER_UNIT)
        if record.origin is None
        else note("Published figures may follow another protocol.", _OTHER_PROTOCOL),
        folded("Data", tables.setting_table(dataset)) if dataset else None,
    ]


def _model_choice(held_out: int | None) -> str | None:
    if held_out is None:
        return None
    if held_out == 0:
        return "no model choice: nothing was held out"
    return f"by {exact(held_out)} held-out training images; only the evaluation read the test images"


def run(record: Record) -> list[Any]:
    """What to type, with which versions, how long it takes, and every setting."""
    run, teacher = record.run, record.architecture.get("teacher", {})
    versions = run.get("versions") or record.evaluation.get("versions") or {}
    device, devices = run.get("device"), run.get("devices")
    facts = {
        "Started": run.get("started"),
        "Device": f"{devices} \u00d7 {device}" if device and devices else device,
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Teacher": [f"{teacher.get('architecture', '')} ", element("code", teacher["hash"])]
        if "hash" in teacher
        else None,
    }
    return [
        element("pre", element("code", run["command"])) if "command" in run else None,
        fact_list(facts),
        tables.stage_table(record),
        folded("Configuration", tables.setting_table(record.config)) if record.config else None,
    ]

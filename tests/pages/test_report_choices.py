"""What a search thought of its operations, read from its metrics and drawn edge by edge."""

import json

import numpy as np
import pytest

from rnas.pages import choices, write_report
from rnas.pages.cells import OPERATIONS, read_cells
from rnas.pages.choices import Choices, plot_choices, read_choices
from rnas.spaces import cell_space

CANDIDATES = list(cell_space.OPERATIONS)
PANEL = [(node, source) for node in (2, 3, 4, 5) for source in range(node)]


def constant(*shares):
    """Seven operations on 14 edges with the same probabilities, over three epochs."""
    return Choices("epoch", np.arange(3.0), tuple(CANDIDATES), np.broadcast_to(shares, (3, 14, 7)))


@pytest.mark.parametrize(
    ("shares", "uncertainty"),
    [([1 / 7] * 7, 1), ([1, 0, 0, 0, 0, 0, 0], 0), ([0.5, 0.5, 0, 0, 0, 0, 0], np.log(2) / np.log(7))],
)
def test_uncertainty_is_entropy_over_that_of_a_uniform_choice(shares, uncertainty):
    np.testing.assert_allclose(constant(*shares).uncertainty, [uncertainty] * 3, atol=1e-9)


def test_probabilities_are_found_by_type_edge_and_operation(cell_rows):
    read = read_choices(cell_rows)
    assert list(read) == ["accurate", "reduce", "robust"]
    robust = read["robust"]
    assert robust.axis == "epoch" and robust.time.tolist() == [0, 1, 2, 3, 4]
    assert robust.probabilities.shape == (5, 14, 7)
    np.testing.assert_allclose(robust.probabilities[0], 1 / 7)
    at = robust.operations.index("dil_conv_3x3")
    assert robust.probabilities[4, 13, at] == cell_rows[4]["robust/13/dil_conv_3x3"]
    np.testing.assert_allclose(robust.probabilities.sum(-1), 1)


def test_rows_without_epochs_go_by_step(cell_rows):
    for row in cell_rows:
        del row["epoch"]
    read = read_choices(cell_rows)["reduce"]
    assert read.axis == "step" and read.time.tolist() == [0, 2, 4, 6, 8]
    assert read_choices([]) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robust/14/skip_connect": 0.5}, "'robust/14/skip_connect' is of no known edge"),
        ({"sturdy/0/skip_connect": 0.5}, "the type one of accurate, normal, reduce, robust"),
        ({"robust/0/conv": 0.5}, "'robust/0/conv' is of no known edge"),
        ({"robust/3/skip_connect": None}, "step 2 lacks the probabilities robust/3/skip_connect"),
    ],
)
def test_probabilities_that_are_none_are_named(write_cells, cell_rows, change, message):
    cell_rows[1] |= change
    with pytest.raises(ValueError, match=message) as error:
        write_report(write_cells(metrics=cell_rows))
    assert "metrics.jsonl" in str(error.value)


def test_every_edge_has_its_panel_and_what_was_kept_stands_out(painted, cell_rows, cell_architecture):
    from matplotlib.colors import to_hex

    kept = read_cells(cell_architecture)["robust"]
    read = read_choices(cell_rows)["robust"]
    panels = painted(choices, plot_choices, "robust", read, kept, 2.0).axes[:14]
    by_edge = {(edge.node, edge.source): edge for edge in kept}
    for number, (panel, edge) in enumerate(zip(panels, PANEL, strict=True)):
        lines = {line.get_linewidth(): line for line in panel.lines[:7]}
        assert panel.lines[7].get_xdata() == [2.0, 2.0]  # where the second stage begins
        assert (edge in by_edge) == (2.4 in lines) == (to_hex(panel.get_facecolor()) != "#ffffff")
        if edge in by_edge:
            at = CANDIDATES.index(by_edge[edge].operation)
            np.testing.assert_allclose(lines[2.4].get_ydata(), 100 * read.probabilities[:, number, at])
            assert panel.get_title(loc="left").endswith(f": {by_edge[edge].short}")


def test_panels_stand_in_a_triangle_and_do_not_touch(painted, cell_rows, cell_architecture):
    figure = painted(choices, plot_choices, "reduce", read_choices(cell_rows)["reduce"], (), None)
    renderer = figure.canvas.get_renderer()
    panels = figure.axes[:14]
    for panel, (node, source) in zip(panels, PANEL, strict=True):
        place = panel.get_position()
        assert place.x0 == panels[9 + source].get_position().x0  # in the column of its source
        assert place.y0 == panels[PANEL.index((node, 0))].get_position().y0
    extents = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for place, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[place + 1 :])


def test_two_operations_never_look_alike():
    looks = [json.dumps(choices._looks(name)) for name in OPERATIONS]
    assert len(set(looks)) == len(OPERATIONS)


def test_the_page_shows_how_the_search_decided(searched, read_page):
    page = read_page(searched)
    alts = [image["alt"] for image in page.all("img")]
    for kind in ("accurate", "reduce", "robust"):
        assert any(
            alt.startswith(f"Probability of every operation on every edge of the {kind} cell; kept: ") for alt in alts
        )
    share = np.exp(2) / (np.exp(2) + 6)  # of an operation on edge 0 whose logit is 2, six others at 0
    assert any(f"kept: skip from c_{{k-2}} to 2 {share:.2f}, " in alt for alt in alts)
    said = page.said()
    assert "Edges that were kept are tinted" in said
    assert said.count("Dotted: the second stage begins") == 2  # how the search decided, learning


def test_a_search_that_has_not_ended_has_kept_nothing(write_cells, page_of):
    workdir = write_cells("unfinished", ["architecture.json", "evaluation.json"])
    said = page_of(workdir).said()
    assert "How the search decided" in said and "were kept" not in said
    assert "No network yet" in said


@pytest.mark.parametrize(
    ("search", "epoch"),
    [
        ({"method": "dsara", "epochs": 50, "stage1_epochs": 20}, 20),
        ({"method": "dsara", "epochs": 50, "stage1_epochs": 0}, None),
        ({"method": "dsara", "epochs": 20, "stage1_epochs": 20}, None),
        ({"method": "arnas", "epochs": 50, "stage1_epochs": 20}, None),
    ],
)
def test_only_a_search_in_two_stages_has_a_second_one(write_cells, cell_config, search, epoch):
    from rnas.pages.record import read_record

    assert read_record(write_cells(config=cell_config | {"search": search})).second_stage == epoch

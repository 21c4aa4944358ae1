"""What a search thought of its operations, read from its metrics and drawn edge by edge."""

import numpy as np
import pytest

from rnas.artifacts.metrics import MetricsRow
from rnas.pages import curves
from rnas.pages.cells import LOOKS, empty_graph, graphs, look
from rnas.pages.curves import Choices, plot_choices, plot_learning, read_choices
from rnas.pages.workdir import read_workdir
from rnas.spaces import cell_space

DSARA = cell_space.get_space("dsara")
CANDIDATES = list(DSARA.operations)
PANEL = list(DSARA.edges)


def constant(*shares):
    """Seven operations on 14 edges with the same probabilities, over three epochs."""
    graph = empty_graph(DSARA, "robust")
    return Choices(graph, np.arange(3.0), tuple(CANDIDATES), np.broadcast_to(shares, (3, 14, 7)))


@pytest.mark.parametrize(
    ("shares", "uncertainty"),
    [([1 / 7] * 7, 1), ([1, 0, 0, 0, 0, 0, 0], 0), ([0.5, 0.5, 0, 0, 0, 0, 0], np.log(2) / np.log(7))],
)
def test_uncertainty_is_entropy_over_that_of_a_uniform_choice(shares, uncertainty):
    np.testing.assert_allclose(constant(*shares).uncertainty, [uncertainty] * 3, atol=1e-9)


def test_probabilities_are_found_by_type_edge_and_operation(cell_rows):
    read = read_choices(cell_rows, DSARA)
    assert list(read) == ["accurate", "reduce", "robust"]
    robust = read["robust"]
    assert robust.epochs.tolist() == [0, 1, 2, 3, 4]
    assert robust.probabilities.shape == (5, 14, 7)
    np.testing.assert_allclose(robust.probabilities[0], 1 / 7)
    at = robust.operations.index("dil_conv_3x3")
    assert robust.probabilities[4, 13, at] == cell_rows[4].values["robust/13/dil_conv_3x3"]
    np.testing.assert_allclose(robust.probabilities.sum(-1), 1)


def test_without_rows_nothing_was_chosen():
    assert read_choices([], DSARA) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robust/14/skip_connect": 0.5}, "'robust/14/skip_connect' is of no type, edge"),
        ({"sturdy/0/skip_connect": 0.5}, "'sturdy/0/skip_connect' is of no type, edge and operation of space dsara"),
        ({"robust/0/conv": 0.5}, "'robust/0/conv' is of no type, edge"),
        ({"robust/3/skip_connect": None}, "step 2 lacks the probabilities robust/3/skip_connect"),
    ],
)
def test_probabilities_that_are_none_are_named(cell_rows, change, message):
    cell_rows[1].values.update(change)
    with pytest.raises(ValueError, match=message) as error:
        read_choices(cell_rows, DSARA)
    assert "metrics.jsonl" in str(error.value)


def test_every_edge_has_its_panel_and_what_was_kept_stands_out(painted, cell_rows, write_cells):
    from matplotlib.colors import to_hex

    kept = graphs(read_workdir(write_cells()).architecture)["robust"]
    read = read_choices(cell_rows, DSARA)["robust"]
    panels = painted(curves, plot_choices, read, kept, 2.0).axes[:14]
    by_edge = {(edge.node, edge.source): edge.operation for edge in kept.edges}
    for number, (panel, edge) in enumerate(zip(panels, PANEL, strict=True)):
        lines = {line.get_linewidth(): line for line in panel.lines[:7]}
        assert panel.lines[7].get_xdata() == [2.0, 2.0]  # where the second stage begins
        assert (edge in by_edge) == (2.4 in lines) == (to_hex(panel.get_facecolor()) != "#ffffff")
        if edge in by_edge:
            at = CANDIDATES.index(by_edge[edge])
            np.testing.assert_allclose(lines[2.4].get_ydata(), 100 * read.probabilities[:, number, at])
            assert panel.get_title(loc="left").endswith(f": {look(by_edge[edge])[0]}")


def test_panels_stand_in_a_triangle_and_do_not_touch(painted, cell_rows):
    figure = painted(curves, plot_choices, read_choices(cell_rows, DSARA)["reduce"], None, None)
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
    looks = [str(curves._line_look(name)) for name in LOOKS]
    assert len(set(looks)) == len(LOOKS)


def test_what_was_kept_is_named_with_its_probability(context_of, write_cells):
    plots = context_of(write_cells())["sections"]["search"].content["plots"]
    assert [plot.title for plot in plots] == ["Accurate cell", "Reduce cell", "Robust cell"]
    share = np.exp(2) / (np.exp(2) + 6)  # of an operation on edge 0 whose logit is 2, six others at 0
    assert f"kept: skip from c\u2096\u208b\u2082 to 2 {share:.2f}, " in plots[0].content.alt


def test_long_curves_are_means_and_values_that_never_change_stay_off_the_edge(painted):
    values = {"loss": 2.0, "kl": 0.0}
    train = [MetricsRow("train", "train", n, float(n), 0.0, values | {"temperature": float(n)}) for n in range(1000)]
    figure = painted(curves, plot_learning, "train", train, [])
    loss, temperature = figure.axes  # `kl`, zero all the time, is a stage without a teacher
    assert len(loss.lines[0].get_xdata()) == 200 and loss.get_ylim() == (0, 4)
    np.testing.assert_allclose(temperature.lines[0].get_ydata()[:2], [2, 7])  # means of five steps
    assert plot_learning("train", [MetricsRow("train", "train", 0, 0.0, 0.0, {"kl": 0.0})], []) is None

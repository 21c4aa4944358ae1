"""Cells: read and checked, stacked as they are placed, drawn without one label on another."""

import random

import pytest

from rnas.pages import graph, write_report
from rnas.pages.cells import OPERATIONS, Edge, blocks, collapsed, read_cells
from rnas.pages.drawing import draw_network

CANDIDATES = [name for name in OPERATIONS if name != "none"]


def some_cell(seed):
    draw = random.Random(seed)
    return [[draw.choice(CANDIDATES), source] for node in (2, 3, 4, 5) for source in draw.sample(range(node), 2)]


def test_edges_are_numbered_node_by_node():
    edges = [Edge("skip_connect", source, node) for node in (2, 3, 4, 5) for source in range(node)]
    assert [edge.number for edge in edges] == list(range(14))


def test_two_edges_lead_into_each_node(cell_architecture):
    cells = read_cells(cell_architecture)
    assert list(cells) == ["accurate", "reduce", "robust"]
    assert [edge.node for edge in cells["robust"]] == [2, 2, 3, 3, 4, 4, 5, 5]
    assert cells["robust"][6] == Edge("dil_conv_3x3", 4, 5)
    assert read_cells({"space": "tiny", "widths": [12]}) == {}


@pytest.mark.parametrize(
    ("place", "entry", "message"),
    [
        (0, ["conv_7x7", 0], "operation 'conv_7x7' is unknown; known are max_pool_3x3"),
        (0, ["none", 0], "operation 'none' is unknown"),
        (0, ["skip_connect", 2], "source 2 of node 2, expected 0 to 1"),
        (7, ["skip_connect", -1], "source -1 of node 5, expected 0 to 4"),
        (7, ["skip_connect", "4"], "source '4' of node 5"),
        (1, ["skip_connect", 0], "node 2 takes state 0 twice"),
        (3, "skip_connect", "holds 'skip_connect', expected 8 pairs"),
        (3, ["skip_connect"], r"holds \['skip_connect'\], expected 8 pairs"),
    ],
)
def test_a_cell_that_is_none_is_named(write_cells, cell_architecture, place, entry, message):
    cell_architecture["accurate"][place] = entry
    with pytest.raises(ValueError, match=message) as error:
        write_report(write_cells(architecture=cell_architecture))
    assert "architecture.json: cell 'accurate'" in str(error.value)


def test_a_cell_has_eight_edges_and_every_type_placed_has_a_cell(cell_architecture):
    with pytest.raises(ValueError, match="'robust' is .*expected 8 pairs"):
        read_cells(cell_architecture | {"robust": cell_architecture["robust"][:7]})
    del cell_architecture["robust"]
    with pytest.raises(ValueError, match="placement names robust, but the cells are accurate, reduce"):
        read_cells(cell_architecture)


@pytest.mark.parametrize("origin", ["dsara", {"name": "dsara"}])
def test_an_origin_that_is_none_is_named(write_cells, cell_architecture, origin):
    with pytest.raises(ValueError, match=r"architecture\.json: origin is .*expected"):
        write_report(write_cells(architecture=cell_architecture | {"origin": origin}))


def test_a_broken_cell_of_a_baseline_is_named(write_cells):
    workdir = write_cells()
    (workdir / "architectures" / "random_2.json").write_text('{"reduce": []}')
    with pytest.raises(ValueError, match=r"random_2\.json: cell 'reduce'"):
        write_report(workdir)


def stacked(space, channels, **more):
    plain = ("accurate", "robust") if space == "dsara" else ("normal", "normal")
    placement = ["reduce" if i in (6, 13) else plain[i > 13] for i in range(20)]
    shape = {"image_shape": [32, 32, 3], "placement": placement, "channels": channels}
    return [(block["width"], block["resolution"]) for block in blocks({"space": space, **shape, **more})]


def test_cells_have_the_widths_and_sides_of_their_place():
    """The CIFAR-10 networks of DSARA (arXiv 2212.14049) and DARTS (arXiv 1806.09055), 20 cells."""
    assert stacked("dsara", 64) == [(64, 32)] * 6 + [(128, 16)] * 7 + [(128, 8)] * 7
    assert stacked("darts", 36) == [(36, 32)] * 6 + [(72, 16)] * 7 + [(144, 8)] * 7
    assert stacked("dsara", 36, width_ratio=[1, 2, 4]) == stacked("darts", 36)


def test_stages_begin_at_reductions(cell_architecture):
    laid = blocks(cell_architecture)
    assert [block["stage"] for block in laid] == [1, 1, 2, 2, 2, 3, 3, 3]
    assert [block["stride"] for block in laid] == [1, 1, 2, 1, 1, 2, 1, 1]


def test_the_network_names_its_cells(painted, cell_architecture):
    from rnas.pages import drawing

    figure = painted(drawing, draw_network, cell_architecture)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said.count("16") == 2 and said.count("32") == 6
    for words in ("2 accurate", "reduce", "2 robust", "stage 3\n8\u00d78\nstride 2", "image\n32\u00d732\u00d73"):
        assert words in said


@pytest.mark.parametrize(("weightless", "noticed"), [(5, None), (6, 6), (8, 8)])
def test_a_collapsed_cell_is_noticed(write_cells, cell_architecture, page_of, weightless, noticed):
    kinds = ["skip_connect", "max_pool_3x3", "avg_pool_3x3"]
    for place, entry in enumerate(cell_architecture["robust"]):
        entry[0] = kinds[place % 3] if place < weightless else "sep_conv_3x3"
    assert collapsed(read_cells(cell_architecture)["robust"]) == noticed
    said = page_of(write_cells(metrics=[], architecture=cell_architecture)).said()
    expected = f"The robust cell has collapsed: {noticed} of its 8 operations are pools or skips"
    assert (expected in said) if noticed else ("has collapsed" not in said)


def boxes(figure):
    """Extents of everything written: labels of edges with their paper, names of states with their boxes."""
    from matplotlib.patches import FancyBboxPatch

    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    labels = [text.get_bbox_patch().get_window_extent(renderer) for text in axes.texts if text.get_bbox_patch()]
    states = [patch.get_window_extent(renderer) for patch in axes.patches if type(patch) is FancyBboxPatch]
    return labels, states


def test_no_label_of_any_cell_lies_on_another(painted, cell_architecture):
    cells = {name: cell_architecture[name] for name in ("accurate", "reduce", "robust")}
    drawn = [read_cells(cells)] + [
        read_cells({kind: some_cell(f"{seed}{kind}") for kind in cells}) for seed in range(8)
    ]
    for one in drawn:
        figure = painted(graph, graph.draw_cells, "cells", one)
        labels, states = boxes(figure)
        assert len(labels) == 8 * 3 and len(states) == 7 * 3
        for place, label in enumerate(labels):
            assert figure.bbox.x0 <= label.x0 and label.x1 <= figure.bbox.x1 and label.y1 <= figure.bbox.y1
            assert not any(label.overlaps(other) for other in (*labels[:place], *labels[place + 1 :], *states))


def test_an_edge_is_drawn_from_its_source_to_its_node(painted):
    entries = some_cell(3)
    figure = painted(graph, graph.draw_cells, "cells", read_cells({"reduce": entries}))
    (axes,) = figure.axes
    states = {text.get_text(): text.get_position()[0] for text in axes.texts}
    across = [states["$c_{k-2}$"], states["$c_{k-1}$"], *(states[str(node)] for node in (2, 3, 4, 5))]
    half = (across[1] - across[0]) / 4  # within it an end belongs to its state
    arcs = [arc for arc in axes.patches if hasattr(arc, "get_arrowstyle")]
    assert len(arcs) == len(entries)
    for place, (arc, (_, source)) in enumerate(zip(arcs, entries, strict=True)):
        start, _, _, end = arc.get_path().vertices[:4]  # its head follows
        assert abs(start[0] - across[source]) < half
        assert abs(end[0] - across[2 + place // 2]) < half


def test_a_cell_is_told_in_words(searched, read_page):
    page = read_page(searched)
    (alt,) = [image["alt"] for image in page.all("img") if image["alt"].startswith("Robust cell:")]
    assert "dil 5\u00d75 from c_{k-2} to 2, dil 5\u00d75 from c_{k-1} to 2" in alt
    assert alt.endswith("dil 3\u00d73 from 4 to 5, dil 3\u00d73 from 3 to 5.")
    (row,) = [row for row in page.rows if row[0].strip() == "accurate"]
    nodes = ["".join(cell.split()) for cell in row[1:]]
    assert nodes[0] == "skipfromck\u22122skipfromck\u22121" and nodes[3] == "sep5\u00d75from4skipfromck\u22122"

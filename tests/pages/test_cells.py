"""Cells: as graphs, stacked as they are placed, drawn without one label on another."""

import dataclasses

import numpy as np
import pytest

from rnas.artifacts.architecture import load_architecture
from rnas.pages import drawings
from rnas.pages.cells import LOOKS, Edge, blocks, graphs
from rnas.spaces import cell_space, nasbench201


@pytest.fixture
def found(write_cells):
    """The network of the fixtures."""
    return load_architecture(write_cells() / "architecture.json")


def random_graphs(found, seed):
    genotype = cell_space.random_genotype(cell_space.get_space("dsara"), np.random.default_rng(seed))
    return graphs(dataclasses.replace(found, genotype=genotype))


def test_two_edges_lead_into_each_node(found):
    shown = graphs(found)
    assert list(shown) == ["accurate", "reduce", "robust"] and shown["robust"].inputs == 2
    assert [edge.node for edge in shown["robust"].edges] == [2, 2, 3, 3, 4, 4, 5, 5]
    assert shown["robust"].edges[6] == Edge("dil_conv_3x3", 4, 5)
    assert graphs(None) == {}


def test_every_operation_of_every_space_has_a_look_of_its_own():
    operations = {name for space in cell_space.SPACES.values() for name in space.operations} | {*nasbench201.OPERATIONS}
    assert operations == set(LOOKS) and len({name for name, *_ in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize("seed", range(20))
def test_both_call_the_same_cells_collapsed(found, seed):
    genotype = cell_space.random_genotype(cell_space.get_space("dsara"), np.random.default_rng(seed))
    shown = graphs(dataclasses.replace(found, genotype=genotype)).values()
    collapsed = [graph.kind for graph in shown if graph.weightless >= cell_space.COLLAPSED]
    assert collapsed == list(cell_space.collapsed(genotype))


def stacked(found, published, channels, **more):
    genotype = cell_space.PUBLISHED[published]
    ratio = {"width_ratio": cell_space.get_space(genotype.space).width_ratio, **more}
    network = dataclasses.replace(found, genotype=genotype, channels=channels, cells=20, **ratio)
    return [(block.width, block.resolution) for block in blocks(network)]


def test_cells_have_the_widths_and_sides_of_their_place(found):
    """The CIFAR-10 networks of DSARA (arXiv 2212.14049) and DARTS (arXiv 1806.09055), 20 cells."""
    assert stacked(found, "dsara", 64) == [(64, 32)] * 6 + [(128, 16)] * 7 + [(128, 8)] * 7
    assert stacked(found, "darts_v2", 36) == [(36, 32)] * 6 + [(72, 16)] * 7 + [(144, 8)] * 7
    assert stacked(found, "dsara", 36, width_ratio=(1, 2, 4)) == stacked(found, "darts_v2", 36)


def test_stages_begin_at_reductions(found):
    assert [block.stage for block in blocks(found)] == [1, 1, 2, 2, 2, 3, 3, 3]
    assert [block.stride for block in blocks(found)] == [1, 1, 2, 1, 1, 2, 1, 1]


def test_the_network_names_its_cells(painted, found):
    figure = painted(drawings, drawings.draw_network, found)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said.count("16") == 2 and said.count("32") == 6
    for words in ("2 accurate", "reduce", "2 robust", "stage 3\n8\u00d78\nstride 2", "image\n32\u00d732\u00d73"):
        assert words in said


def boxes(figure):
    """Extents of everything written: labels of edges with their paper, names of states with their boxes."""
    from matplotlib.patches import FancyBboxPatch

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    labels = [text.get_bbox_patch().get_window_extent(renderer) for text in axes.texts if text.get_bbox_patch()]
    states = [patch.get_window_extent(renderer) for patch in axes.patches if type(patch) is FancyBboxPatch]
    return labels, states


def test_no_label_of_any_cell_lies_on_another(painted, found):
    for shown in (graphs(found), *(random_graphs(found, seed) for seed in range(4))):
        figure = painted(drawings, drawings.draw_cells, "cells", list(shown.values()))
        labels, states = boxes(figure)
        assert len(labels) == 8 * 3 and len(states) == 7 * 3
        for place, label in enumerate(labels):
            assert figure.bbox.x0 <= label.x0 and label.x1 <= figure.bbox.x1 and label.y1 <= figure.bbox.y1
            assert not any(label.overlaps(other) for other in (*labels[:place], *labels[place + 1 :], *states))


def test_an_edge_is_drawn_from_its_source_to_its_node(painted, found):
    graph = random_graphs(found, 3)["reduce"]
    figure = painted(drawings, drawings.draw_cells, "cells", [graph])
    (axes,) = figure.axes
    states = {text.get_text(): text.get_position()[0] for text in axes.texts}
    across = [states["$c_{k-2}$"], states["$c_{k-1}$"], *(states[str(node)] for node in (2, 3, 4, 5))]
    half = (across[1] - across[0]) / 4  # within it an end belongs to its state
    arcs = [arc for arc in axes.patches if hasattr(arc, "get_arrowstyle")]
    assert len(arcs) == len(graph.edges)
    for arc, edge in zip(arcs, graph.edges, strict=True):
        start, _, _, end = arc.get_path().vertices[:4]  # its head follows
        assert abs(start[0] - across[edge.source]) < half and abs(end[0] - across[edge.node]) < half


def test_a_cell_in_words(context_of, write_cells, rows):
    context = context_of(write_cells(metrics=[]))
    drawings = {graph.kind: drawing.alt for graph, drawing in context["sections"]["network"].content["cells"]}
    assert (
        "dil 5\u00d75 from c\u2096\u208b\u2082 to 2, dil 5\u00d75 from c\u2096\u208b\u2081 to 2" in drawings["robust"]
    )
    assert drawings["robust"].endswith("dil 3\u00d73 from 4 to 5, dil 3\u00d73 from 3 to 5.")
    accurate = rows(context, "cells")[0]
    assert accurate["Node 2"] == "skip from c\u2096\u208b\u2082, skip from c\u2096\u208b\u2081"
    assert accurate["Node 5"] == "sep 5\u00d75 from 4, skip from c\u2096\u208b\u2082"


def test_the_map_of_tutors_keeps_its_labels_legible(write_run):
    found = load_architecture(write_run() / "architecture.json")
    picture = drawings.draw_tutors(found)
    assert picture.wide and picture.height > 13 * 12  # a label of 7 points is 9.3 pixels high

"""Cells: as graphs, stacked as they are placed, drawn without one label on another."""

import dataclasses
import re
from xml.etree import ElementTree

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
    return [(block.width, *block.resolution) for block in blocks(network)]


def test_cells_have_the_widths_and_sides_of_their_place(found):
    """The CIFAR-10 networks of DSARA (arXiv 2212.14049) and DARTS (arXiv 1806.09055), 20 cells."""
    assert stacked(found, "dsara", 64) == [(64, 32, 32)] * 6 + [(128, 16, 16)] * 7 + [(128, 8, 8)] * 7
    assert stacked(found, "darts_v2", 36) == [(36, 32, 32)] * 6 + [(72, 16, 16)] * 7 + [(144, 8, 8)] * 7
    assert stacked(found, "dsara", 36, width_ratio=(1, 2, 4)) == stacked(found, "darts_v2", 36)


def test_stages_begin_at_reductions(found):
    assert [block.stage for block in blocks(found)] == [1, 1, 2, 2, 2, 3, 3, 3]
    assert [block.stride for block in blocks(found)] == [1, 1, 2, 1, 1, 2, 1, 1]


def parts(picture, kind):
    """Attributes of the elements of an SVG that have a class, or of all texts with what they say."""
    found = ElementTree.fromstring(picture.data).iter()
    texts = [(element.attrib, "".join(element.itertext())) for element in found if element.tag.endswith("}text")]
    found = ElementTree.fromstring(picture.data).iter()
    return texts if kind == "text" else [element.attrib for element in found if element.get("class") == kind]


def test_the_network_names_its_cells(found):
    said = [text for _, text in parts(drawings.draw_network(found), "text")]
    assert said.count("16") == 2 and said.count("32") == 6
    assert {"2 accurate", "reduce", "2 robust", "stage 3", "8\u00d78", "stride 2", "32\u00d732\u00d73"} <= set(said)


def boxes(picture, kind):
    """Left, top, right and bottom of labels or states."""
    for box in parts(picture, kind):
        left, top, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
        yield left, top, left + width, top + height


def test_no_label_of_any_cell_lies_on_another(found):
    for shown in (graphs(found), *(random_graphs(found, seed) for seed in range(4))):
        picture = drawings.draw_cells("cells", list(shown.values()))
        labels, states = list(boxes(picture, "label")), list(boxes(picture, "state"))
        assert len(labels) == 8 * 3 and len(states) == 7 * 3
        for place, (left, top, right, bottom) in enumerate(labels):
            assert left >= 0 and top >= 0 and right <= picture.width
            for other in (*labels[:place], *labels[place + 1 :], *states):
                assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_an_edge_is_drawn_from_its_source_to_its_node(found):
    graph = random_graphs(found, 3)["reduce"]
    picture = drawings.draw_cells("cells", [graph])
    states = {text: float(place["x"]) for place, text in parts(picture, "text")}
    across = [states[name] for name in ("ck\u22122", "ck\u22121", "2", "3", "4", "5")]
    half = (across[1] - across[0]) / 4  # within it an end belongs to its state
    arcs = parts(picture, "arc")
    assert len(arcs) == len(graph.edges)
    for arc, edge in zip(arcs, graph.edges, strict=True):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", arc["d"])]
        assert abs(numbers[0] - across[edge.source]) < half and abs(numbers[-2] - across[edge.node]) < half


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

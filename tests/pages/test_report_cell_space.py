"""The report reads files alone and states the cell space again: it must be the space that is searched."""

import numpy as np
import pytest

from rnas.pages import cells as shown
from rnas.pages.naming import is_published
from rnas.spaces import cell_space, nasbench201


@pytest.mark.parametrize("space", cell_space.SPACES.values(), ids=lambda space: space.name)
def test_operations_types_and_edges_are_those_of_the_space(space):
    assert set(space.operations) <= shown.OPERATIONS.keys() and set(space.types) <= set(shown.TYPES)
    assert len(space.edges) == shown.EDGES and shown.NODES == cell_space.CONCAT
    numbers = [shown.Edge("skip_connect", source, node).number for node, source in space.edges]
    assert numbers == list(range(len(space.edges)))


def test_cells_of_the_table_are_read_edge_by_edge():
    space = nasbench201.EDGE_SPACE
    assert set(space.operations) <= shown.OPERATIONS.keys() and set(space.types) <= set(shown.TYPES)
    assert shown.layout("cell").edges == len(space.edges) and shown.layout("accurate").edges == shown.EDGES
    (edges,) = shown.read_cells({"space": space.name, "code": "324102"}).values()
    assert [edge.number for edge in edges] == list(range(6))
    assert [(edge.node, edge.source) for edge in edges] == list(space.edges)
    assert [space.operations.index(edge.operation) for edge in edges] == [3, 2, 4, 1, 0, 2]
    with pytest.raises(ValueError, match="code is '32410', expected 6 digits"):
        shown.read_cells({"space": space.name, "code": "32410"})


@pytest.mark.parametrize("name", cell_space.PUBLISHED)
def test_published_cells_are_read_and_named(name):
    genotype = cell_space.PUBLISHED[name]
    read = shown.read_cells(genotype.to_json())
    assert {kind: [(edge.operation, edge.source) for edge in edges] for kind, edges in read.items()} == {
        kind: list(edges) for kind, edges in genotype.cells
    }
    assert is_published(f"baseline_{name}")


@pytest.mark.parametrize("seed", range(20))
def test_both_call_the_same_cells_collapsed(seed):
    genotype = cell_space.random_genotype(cell_space.get_space("dsara"), np.random.default_rng(seed))
    collapsed = [kind for kind, edges in shown.read_cells(genotype.to_json()).items() if shown.collapsed(edges)]
    assert collapsed == list(cell_space.collapsed(genotype))

"""Cells of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326): names, canonical form, neighbours and cost.

Scope: the 15,625 ways to put one of five operations on each of a cell's six edges. Whatever takes an
architecture `arch` takes it in any of its forms: the id, the code '333133' (one digit an edge), the string
'|nor_conv_3x3~0|+…|', or the six operation indices. The network itself is
`rnas.models.nasbench201_network.NASBench201`.
"""

from rnas.spaces.cell_space.edge_space import EdgeSpace
from rnas.spaces.nasbench201.architecture_names import (
    CONV_1X1,
    CONV_3X3,
    EDGES,
    NONE,
    OPERATIONS,
    SIZE,
    SKIP,
    Arch,
    encode,
    encodings,
    identify,
    to_code,
    to_string,
)
from rnas.spaces.nasbench201.edge_probabilities import log_probabilities, most_probable
from rnas.spaces.nasbench201.relations import canonical, classes, neighbours, representatives
from rnas.spaces.nasbench201.skeleton import (
    CELLS,
    CHANNELS,
    blocks,
    check_image_size,
    cost,
    operation_costs,
    taps,
)

# What a search by mixtures chooses from.
EDGE_SPACE = EdgeSpace("nasbench201", OPERATIONS, ("cell",), tuple((node, source) for source, node in EDGES))

__all__ = [
    "CELLS",
    "CHANNELS",
    "CONV_1X1",
    "CONV_3X3",
    "EDGES",
    "EDGE_SPACE",
    "NONE",
    "OPERATIONS",
    "SIZE",
    "SKIP",
    "Arch",
    "blocks",
    "canonical",
    "check_image_size",
    "classes",
    "cost",
    "encode",
    "encodings",
    "identify",
    "log_probabilities",
    "most_probable",
    "neighbours",
    "operation_costs",
    "representatives",
    "taps",
    "to_code",
    "to_string",
]

"""Cell spaces of DARTS and of DSARA / ARNAS: edges, stacking, discretisation and genotypes.

Scope: what a cell is, as tables, NumPy and JAX functions. A network is a stack of cells. The networks are in
`rnas.models.cell_network`; the cells of NAS-Bench-201 are in `rnas.spaces.nasbench201`.
"""

from rnas.spaces.cell_space.edge_space import EdgeSpace, initial_logits, probabilities
from rnas.spaces.cell_space.genotype import (
    COLLAPSED,
    WITHOUT_KERNEL,
    Edge,
    Genotype,
    collapsed,
    discretise,
    from_dsara_names,
    random_genotype,
)
from rnas.spaces.cell_space.published_genotypes import PUBLISHED, get_genotype
from rnas.spaces.cell_space.stacking import (
    CONCAT,
    EDGES,
    FIRST,
    NO_OPERATION,
    NODES,
    OPERATIONS,
    SPACES,
    CellSpace,
    get_space,
    register,
)

__all__ = [
    "COLLAPSED",
    "CONCAT",
    "EDGES",
    "FIRST",
    "NODES",
    "NO_OPERATION",
    "OPERATIONS",
    "PUBLISHED",
    "SPACES",
    "WITHOUT_KERNEL",
    "CellSpace",
    "Edge",
    "EdgeSpace",
    "Genotype",
    "collapsed",
    "discretise",
    "from_dsara_names",
    "get_genotype",
    "get_space",
    "initial_logits",
    "probabilities",
    "random_genotype",
    "register",
]

"""Genotypes as their papers print them."""

from collections.abc import Mapping

from rnas.spaces.cell_space.genotype import Genotype


def _published(space: str, **cells: str) -> Genotype:
    """Returns a genotype from its edges in short, such as 's3(1) s3(0)'."""
    short = {
        "mp": "max_pool_3x3",
        "ap": "avg_pool_3x3",
        "sk": "skip_connect",
        "s3": "sep_conv_3x3",
        "s5": "sep_conv_5x5",
        "d3": "dil_conv_3x3",
        "d5": "dil_conv_5x5",
    }
    return Genotype(
        space, tuple((kind, tuple((short[e[:2]], int(e[3])) for e in row.split())) for kind, row in cells.items())
    )


_DSARA = _published(
    "dsara",
    accurate="sk(0) sk(1)  s5(0) s3(1)  s5(3) s3(1)  s5(4) sk(0)",
    reduce="ap(1) ap(0)  d5(2) ap(0)  d5(3) d5(2)  d5(4) d5(3)",
    robust="d5(0) d5(1)  d5(1) d5(2)  d3(3) d5(2)  d3(4) d3(3)",
)

PUBLISHED: Mapping[str, Genotype] = {
    # The two papers publish the same one.
    "dsara": _DSARA,
    "arnas": _DSARA,
    "darts_v2": _published(
        "darts",
        normal="s3(0) s3(1)  s3(0) s3(1)  s3(1) sk(0)  sk(0) d3(2)",
        reduce="mp(0) mp(1)  sk(2) mp(1)  mp(0) sk(2)  sk(2) mp(1)",
    ),
    # Chen et al. 2019, arXiv 1904.12760
    "pdarts": _published(
        "darts",
        normal="sk(0) d3(1)  sk(0) s3(1)  s3(1) s3(3)  s3(0) d5(4)",
        reduce="ap(0) s5(1)  s3(0) d5(2)  mp(0) d3(1)  d3(1) d5(3)",
    ),
    # Dong et al. 2020, arXiv 2009.00902
    "racl": _published(
        "darts",
        normal="s3(0) s3(1)  s5(0) sk(1)  s3(0) sk(3)  s3(3) sk(4)",
        reduce="s3(0) s5(1)  ap(0) d3(1)  s3(0) s5(1)  s3(2) d3(3)",
    ),
    # Mok et al. 2021, arXiv 2108.01289
    "advrush": _published(
        "darts",
        normal="s3(1) s3(0)  s5(0) s3(1)  s3(1) s3(0)  sk(0) s3(1)",
        reduce="s3(0) s3(1)  sk(0) d3(2)  sk(0) ap(1)  sk(0) sk(2)",
    ),
}


def get_genotype(name: str) -> Genotype:
    """Returns the published genotype called `name`; raises ValueError naming the known ones."""
    if name not in PUBLISHED:
        raise ValueError(f"unknown genotype {name!r}; published ones: {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]

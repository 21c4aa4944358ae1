"""The searches of the three systems, behind one class."""

from ml_collections import ConfigDict

from rnas.runs.searches.cell_operations import CellSearch
from rnas.runs.searches.channel_widths import WidthSearch
from rnas.runs.searches.search import Search

SEARCHES: dict[str, type[Search]] = {"rnas_cl": WidthSearch, "dsara": CellSearch}


def make_search(config: ConfigDict) -> Search:
    """The search of a configuration's system; raises ValueError for an unknown system, space or genotype."""
    if config.system not in SEARCHES:
        raise ValueError(f"unknown system {config.system!r}; known: {', '.join(SEARCHES)}.")
    return SEARCHES[config.system](config)


__all__ = ["SEARCHES", "Search", "make_search"]

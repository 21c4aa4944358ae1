"""Channel-masked inverted-residual space of RNAS-CL: macro tables, channel masks, cost and derivation.

Scope: the search over output widths of arXiv 2301.08092. Kernels, expansions, depth and resolution are fixed.
The network itself is `rnas.models.width_network.FBNet`.
"""

from rnas.spaces.width_space.channel_masks import (
    channel_masks,
    effective_widths,
    initial_width_logits,
    one_hot_widths,
)
from rnas.spaces.width_space.inverted_residuals import SPACES, Block, Stage, WidthSpace, get_space, register
from rnas.spaces.width_space.width_choice import check_target, derive_widths, narrow_to_budget
from rnas.spaces.width_space.width_cost import cost, resolutions

__all__ = [
    "SPACES",
    "Block",
    "Stage",
    "WidthSpace",
    "channel_masks",
    "check_target",
    "cost",
    "derive_widths",
    "effective_widths",
    "get_space",
    "initial_width_logits",
    "narrow_to_budget",
    "one_hot_widths",
    "register",
    "resolutions",
]

"""How far a share measured on some examples may be from that of all."""

import math


def interval(hits: int, count: int) -> list[float]:
    """95 % Wilson score interval of hits / count; [0, 1] without any example."""
    if count == 0:
        return [0.0, 1.0]
    z = 1.959963984540054
    centre = hits / count + z * z / (2 * count)
    spread = z * math.sqrt(hits / count * (1 - hits / count) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]

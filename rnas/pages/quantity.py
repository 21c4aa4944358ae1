"""Numbers as a reader wants them: accuracies, counts, radii and durations."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

_THIN = "\u202f"  # a narrow space that does not break, between a number and its unit
_NORMS = {"linf": "L\u221e", "l2": "L2", "l1": "L1"}


def decimals(count: int | None) -> int:
    """Decimals of a percentage worth printing: a second only where an example weighs 0.01 points or less."""
    return 2 if count is not None and count >= 10_000 else 1


def percent(share: float, places: int = 1, unit: bool = True) -> str:
    """A share in [0, 1] as a percentage, halves rounded up as people do (0.6125 is 61.3 %)."""
    points = Decimal(repr(float(share))) * 100
    text = str(points.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))
    return f"{text}{_THIN}%" if unit else text


def compact(number: float) -> str:
    """A count in three figures (46.2 M); below 100,000 in full (18,930)."""
    if number < 99_999.5:
        return exact(number)
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    value, letter = next((number / scale, letter) for scale, letter in scales if number / scale >= 0.9995)
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{_THIN}{letter}"


def exact(number: float) -> str:
    """A count in full, thousands separated; a mean of counts to the nearest unit."""
    return f"{number:,.0f}"


def number_of(radius: Any) -> float:
    """The value of a radius or step size written as a number or as a fraction ("8/255")."""
    return float(Fraction(radius) if isinstance(radius, str) else radius)


def norm_label(norm: str) -> str:
    """`linf` -> L\u221e; unknown names as they are."""
    return _NORMS.get(norm.lower(), norm)


def radius(value: Any, norm: str = "linf") -> str:
    """A radius or step size: under linf in 255ths where that is exact (8/255, 0.8/255), unless it is short (0.15)."""
    value = number_of(value)
    steps = value * 255
    if norm.lower() == "linf" and abs(value - round(value, 2)) > 1e-6 and abs(steps - round(steps, 1)) < 1e-3:
        return f"{round(steps, 1):g}/255"
    return f"{round(value, 6):.4g}"


def points(difference: float, places: int = 1) -> str:
    """A difference of two shares in points, with its sign (+1.2, −0.4)."""
    text = percent(abs(difference), places, unit=False)
    sign = "" if not float(text) else "+" if difference > 0 else "\u2212"
    return sign + text


def p_value(probability: float) -> str:
    """The p-value of a test: three decimals, four below 0.001."""
    if probability < 0.0001:
        return "< 0.0001"
    return f"{probability:.{3 if probability >= 0.001 else 4}f}"


def milliseconds(number: float, unit: bool = True) -> str:
    """A latency in three figures (0.0794 ms, 42.9 ms)."""
    text = f"{number:.0f}" if number >= 999.5 else f"{number:#.3g}".rstrip(".")
    return f"{text}{_THIN}ms" if unit else text


def duration(seconds: float) -> str:
    """A wall time: 7.4 s, 12 min 05 s, 3 h 20 min."""
    if seconds < 59.95:
        return f"{seconds:.1f}{_THIN}s"
    whole, minutes = round(seconds), round(seconds / 60)
    if whole < 3600:
        return f"{whole // 60}{_THIN}min {whole % 60:02d}{_THIN}s"
    return f"{minutes // 60}{_THIN}h {minutes % 60:02d}{_THIN}min"

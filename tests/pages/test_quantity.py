"""Numbers on the page, against values worked out by hand or from their definition."""

import numpy as np
import pytest

from rnas.pages.quantity import compact, duration, p_value, percent, points, radius


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [
        (0.6125, 1, "61.3"),
        (0.61249, 1, "61.2"),
        (0.28995, 2, "29.00"),
        (1.0, 1, "100.0"),
        (0.0, 2, "0.00"),
        (0.29, 0, "29"),
    ],
)
def test_percent_rounds_halves_up(share, places, text):
    assert percent(share, places, unit=False) == text
    assert percent(share, places) == f"{text}\u202f%"


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0125, "+1.3"), (-0.0125, "\u22121.3"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0"), (-1.0, "\u2212100.0")],
)
def test_points_have_a_sign_unless_they_are_none(difference, text):
    assert points(difference) == text


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "1.000"), (0.0312, "0.031"), (0.001, "0.001"), (0.00042, "0.0004"), (9.9e-5, "< 0.0001"), (0.0, "< 0.0001")],
)
def test_p_value(probability, text):
    assert p_value(probability) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (18_930, "18,930"),
        (99_999, "99,999"),
        (123_456, "123 k"),
        (999_499, "999 k"),
        (999_951, "1.00 M"),
        (9_994_999, "9.99 M"),
        (46_160_474, "46.2 M"),
        (99_960_000, "100 M"),
        (5_200_000_000, "5.20 G"),
    ],
)
def test_compact_keeps_three_figures(number, text):
    assert compact(number).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("value", "norm", "text"),
    [
        (8 / 255, "linf", "8/255"),
        ("8/255", "linf", "8/255"),
        (0.8 / 255, "linf", "0.8/255"),
        (0.003, "linf", "0.003"),
        (0.031, "linf", "0.031"),
        (0.1, "linf", "0.1"),  # 25.5/255
        (np.float32(0.15), "linf", "0.15"),
        (1, "linf", "1"),
        (0, "linf", "0"),
        (0.5, "l2", "0.5"),
        (8 / 255, "L2", "0.03137"),
    ],
)
def test_radius(value, norm, text):
    assert radius(value, norm) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.44, "7.4 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599.6, "1 h 00 min"),
        (12_030, "3 h 20 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds).replace("\u202f", " ") == text

"""Names, classes, neighbours and cost of the cells of NAS-Bench-201, against published figures and files."""

import json

import numpy as np
import pytest

from rnas.spaces import nasbench201
from rnas.spaces.nasbench201 import SIZE, canonical, encode, identify, to_code, to_string


def published(path):
    """The JSON behind `name=` of a JavaScript file."""
    return json.loads(path.read_text().partition("=")[2])


# Rows 0, 9 and 123 are asserted by the code that made the published order (arXiv 2001.00326).
@pytest.mark.parametrize(
    ("number", "string"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_published_strings(number, string):
    assert to_string(number) == string
    assert identify(string) == number
    assert identify(f" {string.replace('|', ' | ')}\n") == number


@pytest.mark.parametrize(
    ("number", "code"),
    [(0, "421211"), (9930, "333133"), (2581, "323133"), (13714, "333123"), (6111, "333132"), (1459, "323123"),
     (1000, "132013"), (10, "333000"), (12, "000034"), (74, "300002"), (172, "004041"), (879, "004003")],
)  # fmt: skip
def test_published_codes(number, code):
    assert to_code(number) == code
    assert identify(code) == identify(f" {code} ") == identify(str(number)) == identify(np.int64(number)) == number


def test_every_name_leads_back():
    codes = set()
    for number in range(SIZE):
        encoding = encode(number)
        code, string = to_code(number), to_string(number)
        assert code == "".join(map(str, encoding))
        assert identify(code) == identify(string) == identify(encoding) == identify(np.asarray(encoding)) == number
        codes.add(code)
    assert len(codes) == 5**6


def test_order_and_classes_are_the_published_ones(shared):
    codes = published(shared / "data/nas_robbench_201/ops.json")
    entries = json.loads((shared / "data/nas_robbench_201/meta.json").read_text())["ids"]
    assert len(codes) == len(entries) == SIZE
    for number, code in enumerate(codes):
        entry = entries[str(number)]
        assert to_code(number) == code and identify(code) == number
        assert to_string(number) == entry["nb201-string"] and identify(entry["nb201-string"]) == number
        assert canonical(number) == int(entry["isomorph"])


def test_classes():
    members = nasbench201.representatives()
    representatives, sizes = np.unique(members, return_counts=True)
    assert len(representatives) == 6466
    assert (sizes == 1).sum() == 5116
    sizes = dict(zip(representatives.tolist(), sizes.tolist(), strict=True))
    assert [sizes[number] for number in (14, 41, 57, 55, 10)] == [275, 275, 275, 250, 225]
    assert [sizes[number] for number in (12, 74, 172, 879)] == [29] * 4
    assert (members <= np.arange(SIZE)).all() and (members[members] == members).all()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("100030", "000300", True),  # a skip to node 1 changes nothing
        ("100230", "100320", True),  # sums have no order
        ("020303", "023303", True),  # what leaves a node without input does not matter
        ("000303", "000300", False),  # but a sum of two dead edges has a name of its own
        ("300020", "200030", False),  # operations in a row have an order
    ],
)
def test_rules_of_the_classes(one, other, same):
    assert (canonical(one) == canonical(other)) is same


def test_neighbours_differ_in_one_edge():
    encodings, neighbours = nasbench201.encodings(), nasbench201.neighbours()
    assert neighbours.shape == (SIZE, 24)
    distance = (encodings[neighbours] != encodings[:, None]).sum(-1)
    assert (distance == 1).all()
    assert (np.diff(np.sort(neighbours)) > 0).all()


@pytest.mark.parametrize(
    ("code", "params", "mmacs"),
    [
        ("000000", 73_306, 7.78),
        ("111111", 73_306, 7.78),
        ("444444", 73_306, 7.78),
        ("222222", 241_306, 31.38),
        ("323133", 1_073_466, 153.27),
        ("333133", 1_288_506, 184.73),
        ("333333", 1_531_546, 220.12),
    ],
)
def test_cost(code, params, mmacs):
    assert nasbench201.cost(encode(code), kind="params") == params
    assert nasbench201.cost(encode(code)) == pytest.approx(mmacs * 1e6, abs=5e3)


def test_cost_of_other_images_and_many_cells():
    all_costs = nasbench201.cost(nasbench201.encodings(), image_size=16, num_classes=120)
    assert all_costs.shape == (SIZE,)
    small, large = (nasbench201.cost(encode("323133"), image_size=side) - 640 for side in (16, 32))
    assert 4 * small == large
    assert all_costs[identify("323133")] == small + 64 * 120
    params = [nasbench201.cost(encode(9930), num_classes=k, kind="params") for k in (10, 120)]
    assert params[1] - params[0] == 65 * 110


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (15_625, "id 15625 is out of range: ids are 0 to 15624; the nearest is 15624"),
        (-1, "the nearest is 0"),
        ("15625", "id 15625 is out of range"),
        (333133, "A code is given as text: '333133'"),
        ("33313", "id 33313 is out of range"),
        ("333153", r"has 5 as digit 5 \(edge 1→3\).* The nearest code is '333143'"),
        ("3331331", "'3331331' is no architecture"),
        ("conv", "'conv' is no architecture"),
        ("", "'' is no architecture"),
        (True, "True is no architecture"),
        (3.0, "3.0 is no architecture"),
        (None, "None is no architecture"),
        ((1, 2, 3), "is no architecture"),
        ((0, 0, 0, 0, 0, 5), "expected 0 to 4"),
        ((0, 0, 0, 0, 0, -1), "expected 0 to 4"),
        ((0.0,) * 6, "is no architecture"),
        ("|none~0|+|none~0|none~1|", "is malformed"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|", "is malformed"),
        ("|none~0|none~0|+|none~1|+|none~0|none~1|none~2|", "is malformed"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "is malformed"),
        ("|conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "no operation .*nearest is 'nor_conv_3x3'"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "entry from node 1 where edge 0→2 stands"),
    ],
)  # fmt: skip
def test_what_is_no_architecture_is_refused(arch, message):
    for function in (identify, encode, to_code, to_string, canonical):
        with pytest.raises(ValueError, match=message):
            function(arch)


def test_probabilities_of_edges_are_probabilities_of_cells():
    rows = np.random.default_rng(0).dirichlet(np.ones(5), size=6)
    logs = nasbench201.log_probabilities(rows)
    assert np.exp(logs).sum() == pytest.approx(1)
    for number in (0, 58, 9930, 15_624):
        assert np.exp(logs[number]) == pytest.approx(np.prod([rows[e, o] for e, o in enumerate(encode(number))]))
    assert nasbench201.most_probable(rows) == logs.argmax()
    certain = np.eye(5)[list(encode("324102"))]
    assert nasbench201.most_probable(certain) == identify("324102")
    logs = nasbench201.log_probabilities(certain)
    assert logs[identify("324102")] == 0 and np.isneginf(logs).sum() == SIZE - 1
    assert to_code(nasbench201.most_probable(np.full((6, 5), 0.2))) == "000000"  # the lower index of equals


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((6, 4), 0.25), r"shape \(6, 4\): expected \(6, 5\)"),
        (np.full((6, 5), 0.25), "sum to 1"),
        (np.eye(6, 5) * 2 - np.eye(6, 5, 1), "sum to 1"),
        (np.full((6, 5), np.nan), "numbers from 0"),
    ],
)
def test_what_are_no_probabilities_is_refused(rows, message):
    for function in (nasbench201.most_probable, nasbench201.log_probabilities):
        with pytest.raises(ValueError, match=message):
            function(rows)


def test_unknown_costs_are_refused():
    with pytest.raises(ValueError, match="'flops'; expected 'macs' or 'params'"):
        nasbench201.cost(encode(0), kind="flops")
    for side in (0, 2, 30):
        with pytest.raises(ValueError, match=f"images of side {side}: .* multiple of 4"):
            nasbench201.cost(encode(0), image_size=side)

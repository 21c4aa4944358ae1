"""Cell spaces: placement, discretisation and the forms of a genotype."""

import jax
import numpy as np
import pytest

from rnas.spaces import cell_space

DSARA, DARTS = cell_space.get_space("dsara"), cell_space.get_space("darts")
LETTERS = {"accurate": "A", "normal": "N", "reduce": "R", "robust": "B"}


@pytest.mark.parametrize(
    ("space", "count", "letters"),
    [
        (DSARA, 5, "ARARB"), (DSARA, 8, "AARAARBB"), (DSARA, 14, "AAAARAAAARBBBB"),
        (DSARA, 20, "AAAAAARAAAAAARBBBBBB"), (DARTS, 8, "NNRNNRNN"),
    ],
)  # fmt: skip
def test_placement(space, count, letters):
    assert "".join(LETTERS[kind] for kind in space.placement(count)) == letters


def test_channels_double_once_or_twice():
    assert DSARA.widths(8, 16) == (16, 16, 32, 32, 32, 32, 32, 32)
    assert DARTS.widths(8, 16) == (16, 16, 32, 32, 32, 64, 64, 64)


@pytest.mark.parametrize(("many", "few"), [(20, 8), (8, 8), (14, 5), (5, 4), (8, 20)])
def test_places_match_types_and_keep_the_order(many, few):
    places = DSARA.places(many, few)
    assert len(places) == many and list(places) == sorted(places)
    if few > 4:  # each part of the smaller network has a cell
        types = DSARA.placement(few)
        assert tuple(types[place] for place in places) == DSARA.placement(many)
    assert many != few or places == tuple(range(many))


def test_initial_logits_are_small_and_probabilities_even():
    logits = cell_space.initial_logits(DARTS, jax.random.key(0))
    assert {kind: table.shape for kind, table in logits.items()} == {"normal": (14, 8), "reduce": (14, 8)}
    spread = np.std(np.concatenate([np.ravel(table) for table in logits.values()]))
    assert 0.8e-3 < spread < 1.2e-3
    for table in cell_space.probabilities(logits).values():
        np.testing.assert_allclose(table, 1 / 8, atol=1e-3)


def test_discretisation_by_hand():
    """Strongest edges first; of equals the lower source and the lower operation; `none` is no choice."""
    table = np.full((14, 8), 0.1)
    table[:, 0] = 0.9  # none
    table[1, 4] = 0.3  # node 2: source 1 before source 0, whose operations all tie
    table[2, 5] = table[3, 5] = table[4, 5] = 0.2  # node 3: three equal sources
    table[8, 7], table[6, 2] = 0.5, 0.4  # node 4: sources 3 and 1
    table[13, 3], table[9, 1] = 0.25, 0.15  # node 5: sources 4 and 0
    found = cell_space.discretise(DARTS, {"normal": table, "reduce": table})
    expected = (
        ("sep_conv_3x3", 1), ("max_pool_3x3", 0), ("sep_conv_5x5", 0), ("sep_conv_5x5", 1),
        ("dil_conv_5x5", 3), ("avg_pool_3x3", 1), ("skip_connect", 4), ("max_pool_3x3", 0),
    )  # fmt: skip
    assert found.edges("normal") == found.edges("reduce") == expected


@pytest.mark.parametrize("name", cell_space.PUBLISHED)
def test_published_genotypes_go_through_json(name):
    genotype = cell_space.get_genotype(name)
    assert cell_space.Genotype.from_json(genotype.to_json()) == genotype
    assert cell_space.collapsed(genotype) == (("reduce",) if name == "darts_v2" else ())


def test_names_of_dsara_are_turned_round():
    published = cell_space.PUBLISHED["dsara"].to_json()
    theirs = {"robust": published["accurate"], "reduce": published["reduce"], "normal": published["robust"]}
    theirs |= {f"{name}_concat": [2, 3, 4, 5] for name in ("robust", "reduce", "normal")}
    assert cell_space.from_dsara_names(theirs) == cell_space.PUBLISHED["dsara"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(space="nas"), "unknown space 'nas'"),
        (lambda c: c["robust"].pop(), "cell 'robust' has 7 edges"),
        (lambda c: c["reduce"].__setitem__(0, ["conv", 0]), "node 2 of cell 'reduce' has the operation 'conv'"),
        (lambda c: c["reduce"].__setitem__(0, ["none", 0]), "node 2 of cell 'reduce' has the operation 'none'"),
        (lambda c: c["robust"].__setitem__(2, ["sep_conv_3x3", 3]), "node 3 of cell 'robust' has the source 3"),
        (lambda c: c["robust"].__setitem__(3, ["sep_conv_3x3", 1]), "node 3 of cell 'robust' has two edges from 1"),
        (lambda c: c.pop("accurate"), "has the keys space, accurate, reduce, robust, concat"),
        (lambda c: c.update(concat=[3, 4, 5]), "got concat="),
        (lambda c: c.update(accurate=3), "cell 'accurate' is not a list of pairs"),
    ],
)
def test_what_is_no_genotype_is_refused_with_its_place(change, message):
    content = cell_space.PUBLISHED["dsara"].to_json()
    change(content)
    with pytest.raises(ValueError, match=f"^mine.json: .*{message}"):
        cell_space.Genotype.from_json(content, where="mine.json")


def test_random_cells_are_legal_and_drawn_evenly():
    generator = np.random.default_rng(0)
    drawn = [cell_space.random_genotype(DARTS, generator) for _ in range(300)]
    names = [operation for genotype in drawn for _, edges in genotype.cells for operation, _ in edges]
    counts = np.array([names.count(name) for name in DARTS.operations[1:]])
    assert names.count("none") == 0 and np.all(abs(counts / len(names) - 1 / 7) < 0.02)
    sources = [dict(genotype.cells)["normal"][6][1] for genotype in drawn]
    assert set(sources) == set(range(5))

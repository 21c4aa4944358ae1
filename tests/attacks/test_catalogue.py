"""Every attack has one name and one label, and no two attacks share either."""

import dataclasses
import itertools
from pathlib import Path
import re

import numpy as np
import pytest

import rnas
from rnas.attacks import catalogue
from rnas.attacks.catalogue import CATALOGUE, NAMES, Attack, find, label_of, parse
from rnas.attacks.programs import PROGRAMS, runs_of
from rnas.config.choices import ATTACKS
from rnas.evaluation.sanity import ORDER
from rnas.tabular.column_attacks import COLUMN_ATTACKS

STEPS = ("0.4", "0.765", "0.8", "1", "2", "3", "8")
FAMILIES = [
    f"{kind}_{steps}{suffix}"
    for kind in ("pgd", "mim", "cw")
    for steps in (1, 7, 10, 20, 30, 40, 100)
    for suffix in ("", *(f"_step_{step}" for step in STEPS))
]


def everything() -> list[Attack]:
    """All that any part of the program runs, and many more of the families."""
    named = [*CATALOGUE, *FAMILIES, *ORDER.values()]
    columns = [attack for attack, _ in COLUMN_ATTACKS.values()]
    return [*(attack for name in named for attack in parse(name)), *parse(f"{ATTACKS}*2"), *columns]


def what_it_does(attack: Attack) -> dict:
    fields = dataclasses.asdict(attack)
    return {key: fields[key] for key in ("program", "steps", "step", "start", "losses", "momentum")}


def test_no_two_attacks_share_a_name_or_a_label():
    for one, other in itertools.combinations(everything(), 2):
        same = what_it_does(one) == what_it_does(other)
        assert (one.name == other.name) == same, (one, other)
        assert (one.label == other.label) == same, (one, other)


@pytest.mark.parametrize("name", [*CATALOGUE, *FAMILIES])
def test_a_name_finds_its_attack(name):
    attack = find(name)
    assert find(attack.name) == attack
    assert label_of(attack.name) == attack.label


@pytest.mark.parametrize(
    ("name", "canonical", "label", "step"),
    [
        ("pgd_20", "pgd_20", "PGD-20 (step ε/4)", 1 / 4),
        ("pgd_20_step_2", "pgd_20", "PGD-20 (step ε/4)", 1 / 4),
        ("pgd_20_step_0.8", "pgd_20_step_0.8", "PGD-20 (step ε/10)", 1 / 10),
        ("pgd_20_step_1", "pgd_20_step_1", "PGD-20 (step ε/8)", 1 / 8),
        ("pgd_100", "pgd_100", "PGD-100", 1 / 4),
        ("pgd_100_step_2", "pgd_100_ce", "PGD-100 (step ε/4, cross-entropy)", 1 / 4),
        ("mim_20", "mim_20", "MI-FGSM-20 (step ε/20)", 1 / 20),
        ("mim_20_step_0.8", "mim_20_step_0.8", "MI-FGSM-20 (step ε/10)", 1 / 10),
        ("cw_20", "cw_20", "CW-20", 0.003 * 255 / 8),
        ("cw_30_step_2", "cw_30_step_2", "CW-30 (step ε/4)", 1 / 4),
        ("fgsm", "fgsm", "FGSM", 1.0),
    ],
)
def test_names_and_labels(name, canonical, label, step):
    attack = find(name)
    assert (attack.name, attack.label, attack.step) == (canonical, label, step)


def test_the_headline_keeps_its_meaning():
    attack = find("pgd_100")
    assert (attack.steps, attack.step, attack.start, attack.losses) == (100, 1 / 4, "uniform", ("ce", "margin"))
    assert parse(f"{ATTACKS}*5")[-1] == attack.repeated(5)


@pytest.mark.parametrize(("in_255ths", "step"), [(0.8, 1 / 10), (1.0, 1 / 8), (2.0, 1 / 4), (0.765, 0.003 * 255 / 8)])
def test_steps_are_those_of_the_tables(in_255ths, step):
    """A step quoted at 8/255, scaled to another radius, is the same float32 as the fraction of that radius."""
    attack = catalogue.pgd(20, step)
    for radius in (*(k / 255 for k in range(256)), 0.031, 0.05, 0.3):
        quoted = in_255ths / 255 * radius / (8 / 255)
        assert np.float32(attack.step_size(radius)) == np.float32(quoted)


def test_restarts():
    (attack, other) = parse("pgd_20*5, square")
    assert (attack.restarts, other.name) == (5, "square")
    assert label_of("pgd_20*5,square") == "PGD-20 (step ε/4) with 5 restarts, Square"
    assert label_of("auto_attack") == "AutoAttack"
    assert label_of("toy") == "toy"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgd_20*3,fgsm, pgd_20", r"attack 'pgd_20' is named twice; write 'pgd_20\*R'"),
        ("pgd_20,pgd_20_step_2", "attack 'pgd_20' is named twice"),
        ("fgsm,fgsm", "attack 'fgsm' is named twice; name it once: it has no restarts"),
        ("square*2", "square takes no restarts"),
        ("pgd_20*x", "expected a number of restarts"),
        ("pgd_20*0", "at least once"),
        ("pgd_20_step_", "unknown attack"),
        ("pgd_20_step_0", "unknown attack"),
        ("mim_20_step_0.0", "unknown attack"),
        ("", "unknown attack ''"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_an_attack_of_one_s_own(monkeypatch):
    monkeypatch.setattr(catalogue, "CATALOGUE", dict(CATALOGUE))
    monkeypatch.setitem(PROGRAMS, "toy", lambda attack, norm, num_classes, eot: [attack.name])
    toy = Attack("toy", "Toy attack", "toy")
    catalogue.register(toy)
    assert find("toy") is toy and label_of("toy") == "Toy attack"
    assert runs_of("toy", "linf", 10) == ["toy"]
    for taken in (toy, Attack("pgd_7", "Seven", "toy"), Attack("new", "FGSM", "toy")):
        with pytest.raises(ValueError, match="already"):
            catalogue.register(taken)


def test_names_are_defined_in_the_catalogue_alone():
    """No other file makes an attack of its own."""
    package = Path(rnas.__file__).parent
    made = re.compile(r"(?<![\w.])Attack\(")
    places = {path.name for path in package.rglob("*.py") if made.search(path.read_text())}
    assert places == {"catalogue.py"}
    assert {name.replace("<steps>", "7") for name in NAMES if "<" not in name} <= CATALOGUE.keys()

"""Labels of attacks: two attacks with different steps never have the same one, on any page."""

import re

import pytest

from rnas.artifacts.table_of_runs import METRICS
from rnas.attacks import catalogue
from rnas.pages import site, table_page
from rnas.pages.canvas import Picture

KIND = re.compile(r"(?:PGD|MI-FGSM|CW)-\d+(?: \([^)]*\))?")


def texts(context):
    """Everything that a context prints."""
    if isinstance(context, str):
        yield context
    elif isinstance(context, Picture):
        yield from (context.alt, *context.labels)
    elif isinstance(context, dict):
        for key, value in context.items():
            yield from (*texts(key), *texts(value))
    elif isinstance(context, list | tuple | set):
        for item in context:
            yield from texts(item)
    elif hasattr(context, "__dataclass_fields__"):
        yield from texts([getattr(context, name) for name in context.__dataclass_fields__])


@pytest.fixture
def contexts(finished_context, searched_context, attacked_context, context_of):
    """Of every page that names attacks by the catalogue."""
    drawn = (finished_context, searched_context, attacked_context)
    columns_of_tables = [table_page._label(f"cifar10/{metric}") for metric in METRICS]
    runs = [context_of(finished_context[0], searched_context[0]), *(context for _, context in drawn)]
    return [*runs, columns_of_tables]


def test_every_label_is_that_of_one_attack_of_the_catalogue(contexts):
    """Of PGD-20 with three steps, a page prints three labels; `PGD-20` alone would be any of them."""
    printed = {label for context in contexts for text in texts(context) for label in KIND.findall(text)}
    names = [f"{kind}_20{step}" for kind in ("pgd", "mim", "cw") for step in ("", "_step_0.8", "_step_1", "_step_2")]
    known = {catalogue.find(name) for name in (*names, *catalogue.CATALOGUE)}
    labels = {attack.label: attack for attack in known}
    assert len(labels) == len(known)
    assert printed <= labels.keys()
    assert {"PGD-100", *map(catalogue.label_of, ("pgd_20", "pgd_20_step_0.8", "pgd_20_step_1"))} <= printed


def test_one_label_one_step(contexts):
    """In the tables of protocol a label has one step and one number of steps in parts of the radius."""
    found = {}
    for context in contexts:
        for table in site.contents(context):
            if getattr(table, "name", "") == "attacks":
                for row in table.records():
                    if row["Step"]:
                        step, radius = (float(row[key].removesuffix("/255")) for key in ("Step", "\u03b5"))
                        found.setdefault(row["Attack"], set()).add((row["Steps"], round(step / radius, 3)))
    assert found["PGD-100"] == {("100", 0.25)}
    assert all(len(settings) == 1 for settings in found.values()), found

"""Methods by name: what a class needs to be found."""

import pytest

from rnas.objectives import METHODS, Method, Objective, register


@pytest.fixture
def toy():
    class Toy(Method):
        name = "toy"
        label = "Toy training"

    yield register(Toy)
    del METHODS["toy"]


def test_a_registered_class_is_found_by_name(toy):
    assert METHODS["toy"] is toy and toy in METHODS.values()
    assert isinstance(Objective("toy", 0.1, 0.05, 2).adversarial, toy)


def test_a_name_belongs_to_one_class(toy):
    assert register(toy) is toy
    with pytest.raises(ValueError, match="'toy' exists already"):
        register(type("Other", (Method,), {"name": "toy"}))


def test_names_and_labels_are_unique():
    assert all(name == method.name for name, method in METHODS.items())
    assert len({method.label for method in METHODS.values()}) == len(METHODS)

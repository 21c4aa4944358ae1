"""Defaults of every system: a comment for each key, rules that hold, and names equal to those of the program."""

import pytest

from rnas.config import check, choices
from rnas.config.defaults import SYSTEMS, sections, system
from rnas.config.keys import keys
from rnas.objectives import METHODS
from rnas.runs.baselines import PERTURBED


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_key_has_a_comment(name):
    found = keys(name)
    assert not [key.name for key in found if not key.comment and not key.is_section]
    config = SYSTEMS[name].get_config()
    leaves = {key.name: key.default for key in found if not key.is_section}

    def walk(section, prefix=""):
        for key, value in section.items():
            if hasattr(value, "items"):
                walk(value, f"{prefix}{key}.")
            else:
                assert leaves.pop(f"{prefix}{key}") == value

    walk(config)
    assert not leaves and config.system == name


def test_a_key_is_described_by_the_comment_of_the_line_that_sets_it_first():
    found = {key.name: key for key in keys("rnas_cl")}
    assert found["seed"] == ("seed", 0, "of everything random", False, "from 0 to 4294967295")
    assert found["cost"] == ("cost", None, "n_f = alpha·beta·log(cost)", True, "")
    assert found["teacher.cache.views"].comment.startswith("Augmentations of each image, cycled over the epochs; base")
    assert found["adversarial.iad_1.first_epoch"].default == 60
    assert found["evaluation.curve"].comment == "Radii of the robustness curve."
    # The order of the sources, each section before its keys.
    names = list(found)
    assert names[:3] == ["system", "seed", "data"] and names.index("search.epochs") > names.index("search")


@pytest.mark.parametrize("name", SYSTEMS)
def test_defaults_obey_the_rules(name):
    check(SYSTEMS[name].get_config())


def test_an_unknown_system_is_refused():
    with pytest.raises(ValueError, match="unknown system 'nas'; known: rnas_cl, dsara, robbench"):
        system("nas")


def test_names_are_those_of_the_program():
    assert tuple(METHODS) == choices.METHODS
    assert ("no_distillation", "plain", *tuple(METHODS)[1:], *PERTURBED) == choices.BASELINES


def test_first_epochs_keep_their_share_of_training():
    config = SYSTEMS["rnas_cl"].get_config()
    before = config.adversarial.to_dict()
    sections.scale_first_epochs(config)
    assert config.adversarial.to_dict() == before, "the published ones, of 200 epochs"
    config.train.epochs = 40
    sections.scale_first_epochs(config)
    assert (config.adversarial.iad_1.first_epoch, config.adversarial.iad_2.first_epoch) == (12, 8)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("rnas_cl", {"dtype": "float16"}, "unknown dtype 'float16'; expected one of float32, bfloat16."),
        ("dsara", {"derive.tutor": "best"}, "unknown derive.tutor 'best'; expected one of argmax, sampled."),
        ("rnas_cl", {"teacher.cache.views": 1, "data.streaming": True}, "a teacher cache needs the images in memory"),
        ("rnas_cl", {"evaluation.epsilons": ()}, "evaluation.epsilons is empty"),
        ("rnas_cl", {"split": "halves"}, "unknown split 'halves'; expected one of shared, disjoint."),
        ("rnas_cl", {"budget.mode": "soft"}, "budget.mode='soft' needs a budget.target, in macs."),
        ("rnas_cl", {"split": "disjoint", "data.streaming": True}, "split='disjoint' needs the images in memory"),
        ("dsara", {"search.second_order": "half"}, "unknown search.second_order 'half'; expected one of exact, finite"),
        ("dsara", {"data.streaming": True}, "the cell search needs the images in memory"),
        ("dsara", {"search.optimizer.name": "adam"}, "search.second_order='exact' looks one step of sgd ahead, but"),
        ("robbench", {"train.weights": "both"}, "unknown train.weights 'both'; expected one of own, shared."),
        ("robbench", {"train.weights": "shared", "train.side_by_side": 2}, "a supernet is trained by itself, use 1."),
        ("robbench", {"seeds": (1, 1)}, "seeds=(1, 1): expected one or more different ones."),
        ("robbench", {"evaluation.auto_attack_seeds": (7,)}, "[7] are not among seeds=(0, 1, 2)."),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(name, changes, message):
    config = SYSTEMS[name].get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError) as refused:
        check(config)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "changes", [{"genotype": "dsara"}, {"search.method": "random"}, {"search.second_order": "none"}]
)
def test_rules_of_the_search_hold_where_there_is_one(changes):
    config = SYSTEMS["dsara"].get_config()
    config.update_from_flattened_dict({"search.optimizer.name": "adam", **changes})
    check(config)

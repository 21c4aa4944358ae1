"""What is said of published networks fits what there is."""

import pytest

from rnas import attacks
from rnas.layers import count
from rnas.models import build_model
from rnas.teachers.normalization import expand, name_of
from rnas.teachers.registry import PUBLISHED, find_published

# From the tables of the benchmark: clean accuracy, accuracy under AutoAttack, millions of parameters.
SAMPLES = {
    "cifar10/Zhang2019Theoretically": (84.92, 53.08, 46.2),
    "cifar10/Rice2020Overfitting": (85.34, 53.42, 184.5),
    "cifar10/Engstrom2019Robustness": (87.03, 49.25, 23.5),
    "cifar10/Wong2020Fast": (83.34, 43.21, 11.2),
    "cifar10/Peng2023Robust": (93.27, 71.07, 267.2),
    "cifar10/Bartoldson2024Adversarial_WRN-94-16": (93.68, 73.71, 365.9),
    "cifar100/Wang2023Better_WRN-70-16": (75.22, 42.67, 266.9),
    "imagenet/Salman2020Do_50_2": (68.46, 38.14, 68.9),
}


@pytest.mark.parametrize("key", SAMPLES)
def test_figures_and_sizes(key):
    entry = find_published(key)
    clean, autoattack, millions = SAMPLES[key]
    assert (entry.clean, entry.autoattack) == (clean, autoattack)
    model = build_model(entry.architecture, num_classes=entry.num_classes, mean=(0.0,) * 3, std=(1.0,) * 3)
    shape = (entry.image_size, entry.image_size, 3)
    assert count(model, shape).params / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("entry", PUBLISHED.values(), ids=PUBLISHED)
def test_every_entry_can_be_used(entry):
    build_model(entry.architecture, num_classes=entry.num_classes, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert name_of(expand(entry.normalization, 3)) == entry.normalization
    assert 0 < entry.autoattack < entry.clean < 100 and (entry.external or 0) < entry.autoattack
    assert attacks.radius(entry.epsilon) <= 8 / 255
    assert (entry.image_size == 32) == (entry.dataset != "imagenet") == (not entry.architecture.startswith("imagenet"))
    assert entry.paper or entry.name == "Engstrom2019Robustness"
    assert find_published(entry.key) is entry


def test_how_images_were_prepared():
    """Of the ImageNet networks one was tested on a crop of the images as they are."""
    prepared = {
        entry.name: (entry.resize, entry.image_size) for entry in PUBLISHED.values() if entry.dataset == "imagenet"
    }
    assert prepared.pop("Wong2020Fast") == (None, 288) and set(prepared.values()) == {(256, 224)}


def test_normalisations_of_published_networks():
    """What a wrong guess would cost accuracy for: same authors, other numbers."""
    assert find_published("cifar10/Wu2020Adversarial").normalization == "none"
    assert find_published("cifar100/Wu2020Adversarial").normalization == "cifar100_rice"
    assert find_published("cifar10/Rice2020Overfitting").normalization == "cifar10"
    assert find_published("cifar10/Engstrom2019Robustness").normalization == "cifar10_madry"
    assert find_published("cifar10/Andriushchenko2020Understanding").normalization == "none"


def test_names():
    assert find_published("Zhang2019Theoretically").key == "cifar10/Zhang2019Theoretically"
    with pytest.raises(ValueError, match="several datasets: cifar10/Rice2020Overfitting, cifar100/Rice2020Overfitting"):
        find_published("Rice2020Overfitting")
    with pytest.raises(ValueError, match="did you mean cifar10/Bartoldson2024Adversarial_WRN-94-16 or cifar10/Bart"):
        find_published("Bartoldson2024")
    with pytest.raises(ValueError, match="did you mean Carmon2019Unlabeled"):
        find_published("Carmon2019Unlabelled")
    with pytest.raises(ValueError, match="the names are cifar10/Bartoldson2024"):
        find_published("vit")

"""The model card: its head as Hugging Face's readers parse it, and what it tells of a model that was measured."""

import dataclasses

import pytest
import yaml

from rnas.artifacts.evaluation import Checkpoint, ModelScores
from rnas.artifacts.model_card import AttackFigures, ModelCard
from rnas.artifacts.scores import AttackScore, CorruptionScore, Score
from rnas.export.card_text import card_text

CARD = ModelCard(
    name="student", label='Student: "café" | #1', kind="student", architecture="tiny", params=17_409, macs=571_492,
    num_classes=10, image_shape=(8, 8, 1), mean=(0.305,), std=(0.376,), dataset="straße/größe", hash="f00d",
    source="runs", checkpoint=Checkpoint("train", 120, "best", 0.5, 137),
    training={"method": "trades", "note": "a | b\nc", "rows": [1]},
)  # fmt: skip
SCORES = ModelScores(
    "student", "Student", 1, 1, Score.of(90, 100), {"pgd_100": AttackScore.of(60, 100, epsilon=0.1)},
    epsilons={"2/255": {"pgd_100": AttackScore.of(80, 100, epsilon=2 / 255)}},
)  # fmt: skip
FOUND = AttackFigures(
    "auto_attack", "standard", "linf", "0.1", "test", "digits", Score.of(9, 10), Score.of(5, 10), ("D",)
)


def head(card):
    _, text, body = card_text(card).split("---\n", 2)
    return yaml.safe_load(text), body


def metrics(card):
    (entry,) = head(card)[0]["model-index"]
    assert entry["name"] == card.label
    return {each["name"]: each["value"] for result in entry["results"] for each in result["metrics"]}


def test_figures_of_evaluation_and_attacks_stand_in_the_head():
    measured = dataclasses.replace(CARD, evaluation=SCORES, attacks=(FOUND,))
    assert metrics(measured) == {
        "none (clean)": 0.9,
        "PGD-100, ε = 0.1": 0.6,
        "PGD-100, ε = 2/255": 0.8,
        "AutoAttack, linf, ε = 0.1": 0.5,
    }
    content, body = head(measured)
    assert content["datasets"] == ["straße/größe"]
    data = [result["dataset"] for result in content["model-index"][0]["results"]]
    assert data[0] == {"name": "straße/größe", "type": "straße/größe", "split": "test"} and data[-1]["name"] == "digits"
    assert "| PGD-100, ε = 0.1 | straße/größe, test | 60.0 (50.2–69.1) | 100 |" in body  # Wilson's interval
    assert "Sanity checks D of AutoAttack failed." in body


def test_clean_accuracy_comes_from_an_attack_where_nothing_else_has_it():
    again = dataclasses.replace(FOUND, attack="fgsm", version="", robust=Score.of(7, 10))
    assert metrics(dataclasses.replace(CARD, attacks=(FOUND, again))) == {
        "none (clean)": 0.9, "AutoAttack, linf, ε = 0.1": 0.5, "FGSM, linf, ε = 0.1": 0.7,
    }  # fmt: skip


def test_corruptions_have_a_sentence():
    corrupted = dataclasses.replace(SCORES, corruptions=CorruptionScore(0.725, 14, 1000, "computed"))
    _, body = head(dataclasses.replace(CARD, evaluation=corrupted))
    assert "over 14 published types and five severities of 1,000 images each (computed), it classifies 72.5 %" in body


def test_facts_stay_in_their_cells():
    content, body = head(CARD)
    assert "model-index" not in content and "Not measured yet." in body
    assert "| note | a \\| b c |" in body and "rows" not in body
    assert "| Checkpoint | step 120 of train, the best on 137 held-out images, score 0.5 |" in body


@pytest.mark.parametrize("card", [CARD, dataclasses.replace(CARD, evaluation=SCORES, attacks=(FOUND,))])
def test_a_card_is_json_and_comes_back(card):
    assert ModelCard.from_json(card.to_json()) == card

"""A model's card for people: in a few lines, and as the README.md with metrics that Hugging Face reads."""

from collections.abc import Iterator
import json

from rnas.artifacts.model_card import ModelCard
from rnas.artifacts.scores import Score
from rnas.attacks import catalogue


def about(card: ModelCard) -> str:
    """What the model is, as one paragraph without a line break inside of a fact."""
    lines = [
        f"Architecture: {card.architecture}",
        f"Size: {card.params:,} parameters, {card.macs:,} multiply-accumulates an image",
        f"Trained on: {card.dataset or 'unknown data'}",
        f"Made by: rnas {card.versions.get('rnas', '')}",
    ]
    return "\n".join(lines)


def card_text(card: ModelCard) -> str:
    """The card in Markdown, with the figures a second time in its head, where Hugging Face looks for them."""
    figures = list(_figures(card))
    height, width, channels = card.image_shape
    facts = {
        "Architecture": card.architecture,
        "Parameters": f"{card.params:,}",
        "Multiply-accumulates": f"{card.macs:,} an image",
        "Input": f"{height}×{width}×{channels}, {card.input}",
        "Classes": str(card.num_classes),
        "Normalisation": f"mean {_numbers(card.mean)}, standard deviation {_numbers(card.std)}",
        "Trained on": card.dataset or "not recorded",
        "Checkpoint": str(card.checkpoint) if card.checkpoint else "not recorded",
        "Hash": card.hash,
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    training = [f"| {name} | {_plain(value)} |" for name, value in card.training.items() if _is_plain(value)]
    measured = [
        f"| {name} | {data} | {100 * score.accuracy:.1f} ({100 * score.interval[0]:.1f}–{100 * score.interval[1]:.1f}) "
        f"| {score.count:,} |"
        for name, data, score in figures
    ]
    parts = [
        _head(card, figures),
        f"# {card.label}",
        "An image classifier made by rnas, a search for compact networks that withstand adversarial attack.",
        "\n".join(["| fact | value |", "|---|---|", *rows]),
    ]
    if training:
        parts += ["## Training", "\n".join(["| setting | value |", "|---|---|", *training])]
    parts.append("## Accuracy")
    if measured:
        parts += [
            "\n".join(["| attack | images | accuracy in %, 95 % interval | count |", "|---|---|---|---|", *measured]),
            "Accuracy under attack is an upper bound: a stronger attack may find more.",
        ]
    else:
        parts.append("Not measured yet.")
    if card.evaluation and (found := card.evaluation.corruptions):
        parts.append(
            f"Under common corruptions, the mean over {found.types} published types and five severities of "
            f"{found.count:,} images each ({found.source}), it classifies {100 * found.accuracy:.1f} % correctly."
        )
    if failed := [each for each in card.attacks if each.failed_checks]:
        parts += [
            f"Sanity checks {', '.join(each.failed_checks)} of {catalogue.label_of(each.attack)} failed."
            for each in failed
        ]
    return "\n\n".join(parts) + "\n"


def _figures(card: ModelCard) -> Iterator[tuple[str, str, Score]]:
    """Name, images and score of everything that was measured."""
    if scores := card.evaluation:
        data = f"{card.dataset}, test"
        yield "none (clean)", data, scores.clean
        for name, score in scores.attacks.items():
            yield f"{catalogue.label_of(name)}, ε = {score.epsilon:.4g}", data, score
        for epsilon, attacks in scores.epsilons.items():
            for name, score in attacks.items():
                yield f"{catalogue.label_of(name)}, ε = {epsilon}", data, score
    for found in card.attacks:
        data, clean = f"{found.dataset}, {found.split}", found.clean
        if not card.evaluation and all(other.clean != clean for other in card.attacks[: card.attacks.index(found)]):
            yield "none (clean)", data, clean
        version = "" if found.version in ("", "standard") else f" {found.version}"
        yield f"{catalogue.label_of(found.attack)}{version}, {found.norm}, ε = {found.epsilon}", data, found.robust


def _head(card: ModelCard, figures: list[tuple[str, str, Score]]) -> str:
    """The YAML that Hugging Face reads; JSON is the part of YAML that needs no rules about signs in texts."""
    lines = [
        "---",
        "library_name: rnas",
        "tags: [image-classification, adversarial-robustness]",
        "metrics: [accuracy]",
    ]
    if card.dataset:
        lines.append(f"datasets: [{json.dumps(card.dataset)}]")
    if figures:
        lines += ["model-index:", f"- name: {json.dumps(card.label)}", "  results:"]
    for name, data, score in figures:
        dataset, _, split = data.rpartition(", ")
        images = {"name": dataset, "type": dataset, "split": split}
        metric = {"type": "accuracy", "name": name, "value": score.accuracy}
        lines += [
            "  - task: {type: image-classification}",
            f"    dataset: {json.dumps(images)}",
            f"    metrics: [{json.dumps(metric, ensure_ascii=False)}]",
        ]
    return "\n".join([*lines, "---"])


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _plain(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _numbers(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)

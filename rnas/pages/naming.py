"""What the page calls models, search methods and published cells, and the order it shows models in."""

from __future__ import annotations

from collections.abc import Mapping
import re

_TRAININGS = {  # by one adversarial method alone
    "pgd_at": "PGD-AT",
    "pgd_at_awp": "PGD-AT with AWP",
    "trades": "TRADES",
    "trades_awp": "TRADES with AWP",
    "mart": "MART",
    "score": "SCORE",
    "ard": "ARD",
    "rslad": "RSLAD",
    "akd2": "AKD²",
    "iad_1": "IAD-I",
    "iad_2": "IAD-II",
    "mtard": "MTARD",
}
_MODELS = {
    "student": "Student",
    "student_last": "The same, last epoch",
    "teacher": "Teacher",
    "baseline_no_distillation": "Baseline, no distillation",
    "baseline_plain": "Baseline, plain training",
    **{f"baseline_{name}": f"Baseline, {label}" for name, label in _TRAININGS.items()},
}
_METHODS = {
    "dsara": "DSARA",
    "arnas": "ARNAS",
    "sum": "Weighted sum",
    "darts1": "DARTS, first order",
    "darts2": "DARTS, second order",
    "advrush": "AdvRush",
    "smooth_rs": "SmoothDARTS-RS",
    "smooth_adv": "SmoothDARTS-ADV",
    "random": "Random",
    "given": "Given",
}
_PUBLISHED = {
    "dsara": "DSARA",
    "arnas": "ARNAS",
    "advrush": "AdvRush",
    "darts_v1": "DARTS-V1",
    "darts_v2": "DARTS-V2",
    "p_darts": "P-DARTS",
    "pdarts": "P-DARTS",
    "racl": "RACL",
}
_RANDOM = re.compile(r"baseline_random_(\d+)")


def is_random(name: str) -> bool:
    """Whether a model is one of the networks with random cells (`baseline_random_0`, …)."""
    return _RANDOM.fullmatch(name) is not None


def is_method(name: str) -> bool:
    """Whether a model is the student's network trained by one adversarial method alone (`baseline_trades`, …)."""
    return name.removeprefix("baseline_") in _TRAININGS


def is_published(name: str) -> bool:
    """Whether a model is one of the networks with published cells (`baseline_advrush`, …)."""
    return name.startswith("baseline_") and name not in _MODELS and not is_random(name)


def model_label(name: str, origin: Mapping[str, str] | None = None) -> str:
    """`teacher` -> Teacher, `baseline_random_0` -> Random network 0, `baseline_advrush` -> AdvRush network.

    Args:
        origin: of the run's own cells, `{"method": …}` or `{"published": …}`; None where it has none, and the
            network it found is a student.
    """
    if name == "student" and origin is not None:
        if "published" in origin:
            return "Published network"
        return "Random network" if origin.get("method") == "random" else "Searched network"
    if name in _MODELS:
        return _MODELS[name]
    if drawn := _RANDOM.fullmatch(name):
        return f"Random network {drawn[1]}"
    if is_published(name):
        return f"{published_label(name.removeprefix('baseline_'))} network"
    return name


def model_order(name: str) -> tuple[int, int, str]:
    """A key to sort models by: student, teacher, baselines, published cells, random ones by their number."""
    if name in _MODELS:
        return list(_MODELS).index(name), 0, name
    drawn = _RANDOM.fullmatch(name)
    return (len(_MODELS) + 1, int(drawn[1]), name) if drawn else (len(_MODELS), 0, name)


def published_label(name: str) -> str:
    """`p_darts` -> P-DARTS; unknown names as they are."""
    return _PUBLISHED.get(name, name)


def method_label(origin: Mapping[str, str] | None) -> str:
    """How a run came to its network; see `model_label` for `origin`."""
    if origin is None:
        return "RNAS-CL"
    if "published" in origin:
        return f"{published_label(origin['published'])}, published"
    method = origin.get("method", "")
    return _METHODS.get(method, method)

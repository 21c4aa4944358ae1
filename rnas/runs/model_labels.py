"""What each model of a run is, and what people read: stored in `evaluation.json` and `attack.json`."""

from __future__ import annotations

from collections.abc import Mapping

_METHODS = {
    "pgd_at": "PGD-AT",
    "trades": "TRADES",
    "mart": "MART",
    "score": "SCORE",
    "ard": "ARD",
    "rslad": "RSLAD",
    "akd2": "AKD²",
    "iad_1": "IAD-I",
    "iad_2": "IAD-II",
    "mtard": "MTARD",
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


def method_label(name: str) -> str:
    """'trades_awp' -> 'TRADES with AWP'."""
    base = name.removesuffix("_awp")
    return _METHODS.get(base, base) + (" with AWP" if base != name else "")


def kind_and_label(name: str, origin: Mapping[str, str] | None, methods: tuple[str, ...]) -> tuple[str, str]:
    """The kind (see `rnas.artifacts.evaluation.KINDS`) and the label of a model of a run.

    Args:
      name: such as 'student' or 'baseline_trades'.
      origin: of the run's own cells, `{"method": …}` or `{"published": …}`; None where it has none.
      methods: names of adversarial methods.
    """
    if name == "student":
        if origin is None:
            return name, "Student"
        if "published" in origin:
            return name, "Published network"
        return name, "Random network" if origin.get("method") == "random" else "Searched network"
    if name in ("student_last", "teacher"):
        return name, "The same, last epoch" if name == "student_last" else "Teacher"
    baseline = name.removeprefix("baseline_")
    if baseline == "no_distillation":
        return "no_distillation", "Baseline, no distillation"
    if baseline == "plain":
        return "plain", "Baseline, plain training"
    if baseline.startswith("random_"):
        return "random", f"Random network {baseline.removeprefix('random_')}"
    if baseline.removesuffix("_awp") in methods:
        return "method", f"Baseline, {method_label(baseline)}"
    return "published", f"{_PUBLISHED.get(baseline, baseline)} network"

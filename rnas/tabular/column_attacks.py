"""The attack behind each accuracy of the table: the protocol of NAS-RobBench-201 (arXiv 2403.13134)."""

from rnas.attacks import catalogue
from rnas.attacks.catalogue import CLEAN, Attack

PGD_20 = catalogue.pgd(20, step=1 / 8)
COLUMN_ATTACKS: dict[str, tuple[Attack, int]] = {  # metric: attack, radius in 255ths
    "clean": (CLEAN, 0),
    "fgsm_3": (catalogue.FGSM, 3),
    "pgd_3": (PGD_20, 3),
    "fgsm_8": (catalogue.FGSM, 8),
    "pgd_8": (PGD_20, 8),
}
# The published accuracies under PGD are those of its last iterate; those above count any iterate.
LAST = {"pgd_3": "pgd_3_last", "pgd_8": "pgd_8_last"}
AUTO_ATTACK_RADIUS = 8  # in 255ths


def column_label(metric: str) -> tuple[str, str]:
    """Returns the label of an accuracy's attack and its radius, both for people; an unknown metric keeps its name."""
    if metric == "autoattack":
        return catalogue.label_of(catalogue.AUTO_ATTACK), f"\u03b5 = {AUTO_ATTACK_RADIUS}/255"
    last = next((name for name, own in LAST.items() if own == metric), None)
    attack, radius = COLUMN_ATTACKS.get(last or metric, (CLEAN, 0))
    label = f"{attack.label}, last iterate" if last else attack.label
    return (label, f"\u03b5 = {radius}/255") if radius else (metric, "")

"""Every named attack once: what its name means in configurations, on the command line, in files and on pages.

A step is a fraction of the radius ε, so it scales with ε. The names `pgd_<steps>`, `mim_<steps>` and `cw_<steps>` have
the step that `rnas.attacks.pgd`, `mim` and `cw` have by default; any other step is part of the name, in 255ths at ε =
8/255: `pgd_20_step_0.8` is PGD-20 with steps of ε/10.

This file is plain data. `rnas.attacks.programs` makes programs of it.
"""

from dataclasses import dataclass, replace
import re

AUTO_ATTACK = "auto_attack"  # the ensemble, see `rnas.attacks.auto_attack`
NAMES = (
    "fgsm", "pgd_<steps>", "mim_<steps>", "cw_<steps>", "pgd_100_ce", "apgd_ce", "apgd_margin", "apgd_dlr", "apgd_t",
    "fab", "fab_t", "square",
)  # fmt: skip
WITHOUT_GRADIENT = ("square",)  # which of them use the answers of the model alone
PGD_STEP = 1 / 4  # of ε: 2/255 at 8/255
REFERENCE_STEP = 1 / 8  # of ε: 1/255 at 8/255
CW_STEP = 0.003 * 255 / 8  # of ε: 0.003 at 8/255
_NAME = re.compile(r"(pgd|mim|cw)_([1-9]\d*)(?:_step_(?=[\d.]*[1-9])(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Attack:
    """A named attack."""

    name: str  # in files and on the command line
    label: str  # for people
    program: str  # which of `rnas.attacks.programs.PROGRAMS` runs it
    steps: int = 0  # gradient steps of one restart
    step: float = 0.0  # length of a step as a fraction of ε, of projected ascent
    start: str = ""  # 'none', 'uniform' or 'random'; '' where the attack has no random start
    losses: tuple[str, ...] = ()  # what is maximised, one after the other
    restarts: int = 1  # with each loss
    repeatable: bool = True  # whether it can run with more restarts
    momentum: float = 0.0  # decay of MI-FGSM, 0 for none
    key_name: str = ""  # random keys are derived from it: the name, unless the attack once had another name

    def __post_init__(self):
        if not self.key_name:
            object.__setattr__(self, "key_name", self.name)

    @property
    def step_words(self) -> str:
        """The step for people: 'ε/4'."""
        return _step_words(self.step)

    @property
    def loss(self) -> str:
        """The losses in words: 'ce then margin'."""
        return " then ".join(self.losses)

    def step_size(self, epsilon: float) -> float:
        """Length of a step at a radius, in pixel units."""
        return self.step * epsilon

    def repeated(self, restarts: int) -> "Attack":
        """The same with another number of restarts; several of an attack that would repeat one run are refused."""
        if restarts < 1:
            raise ValueError(f"{self.name}*{restarts}: an attack runs at least once.")
        if restarts > 1 and not self.repeatable:
            raise ValueError(f"{self.name}*{restarts}: {self.name} takes no restarts.")
        return replace(self, restarts=restarts)


def _suffix(step: float, usual: float) -> str:
    """What a name ends in: nothing for the usual step of its kind."""
    return "" if step == usual else f"_step_{step / REFERENCE_STEP:.12g}"


def _step_words(step: float) -> str:
    inverse = 1 / step
    if step == 1:
        return "ε"
    return f"ε/{inverse:.0f}" if abs(inverse - round(inverse)) < 1e-6 else f"{step:.12g} ε"


def pgd(steps: int, step: float = PGD_STEP) -> Attack:
    """PGD on cross-entropy from a uniform start (Madry et al. 2018, arXiv 1706.06083)."""
    name = "pgd_100_ce" if (steps, step) == (100, PGD_STEP) else f"pgd_{steps}{_suffix(step, PGD_STEP)}"
    label = f"PGD-{steps} (step {_step_words(step)}{', cross-entropy' if name == 'pgd_100_ce' else ''})"
    # `pgd_100_ce` drew its random starts under the name pgd_100.
    return Attack(name, label, "ascent", steps, step, "uniform", ("ce",), key_name=name.removesuffix("_ce"))


def mim(steps: int, step: float | None = None) -> Attack:
    """MI-FGSM (Dong et al. 2018, arXiv 1710.06081): momentum 1, from the image itself; None: steps of ε/steps."""
    suffix = "" if step is None else _suffix(step, 1 / steps)
    step = 1 / steps if step is None else step
    name, label = f"mim_{steps}{suffix}", f"MI-FGSM-{steps} (step {_step_words(step)})"
    return Attack(name, label, "ascent", steps, step, "none", ("ce",), repeatable=False, momentum=1.0)


def cw(steps: int, step: float = CW_STEP) -> Attack:
    """PGD on the margin of Carlini & Wagner (arXiv 1608.04644), CW∞ of robustness tables."""
    suffix = _suffix(step, CW_STEP)
    label = f"CW-{steps}" + (f" (step {_step_words(step)})" if suffix else "")
    return Attack(f"cw_{steps}{suffix}", label, "ascent", steps, step, "uniform", ("margin",))


CLEAN = Attack("clean", "no attack", "ascent", start="none", losses=("ce",), repeatable=False)
FGSM = Attack("fgsm", "FGSM", "ascent", 1, 1.0, "none", ("ce",), repeatable=False)
# The headline of every report: cross-entropy first, then the margin. CE alone is `pgd_100_ce`.
PGD_100 = Attack("pgd_100", "PGD-100", "ascent", 100, PGD_STEP, "uniform", ("ce", "margin"))
CATALOGUE = {
    attack.name: attack
    for attack in (
        FGSM,
        PGD_100,
        pgd(100),
        Attack("apgd_ce", "APGD-CE", "apgd", 100, start="random", losses=("ce",)),
        Attack("apgd_margin", "APGD-margin", "apgd", 100, start="random", losses=("margin",)),
        Attack("apgd_dlr", "APGD-DLR", "apgd", 100, start="random", losses=("dlr",)),
        Attack("apgd_t", "APGD-T", "apgd_t", 100, start="random", losses=("dlr_targeted",), repeatable=False),
        Attack("fab", "FAB", "fab", 100),
        Attack("fab_t", "FAB-T", "fab_t", 100, repeatable=False),
        Attack("square", "Square", "square", repeatable=False),
    )
}


def register(attack: Attack) -> None:
    """Adds an attack of one's own, whose name and label belong to no other attack."""
    if is_known(attack.name) or attack.label in {other.label for other in CATALOGUE.values()}:
        raise ValueError(f"there is an attack with the name {attack.name!r} or the label {attack.label!r} already.")
    CATALOGUE[attack.name] = attack


def is_known(name: str) -> bool:
    """Whether `find` knows the name."""
    return name in CATALOGUE or _NAME.fullmatch(name) is not None


def find(name: str) -> Attack:
    """Returns an attack by its name; ValueError for an unknown one."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"unknown attack {name!r}; expected one of {', '.join(NAMES)}, of which pgd, mim and cw may end in "
            "'_step_<step in 255ths at 8/255>', and where it starts at random in '*R' for R restarts."
        )
    kind, steps, step = match.groups()
    own = () if step is None else (float(step) * REFERENCE_STEP,)
    return {"pgd": pgd, "mim": mim, "cw": cw}[kind](int(steps), *own)


def parse(text: str) -> tuple[Attack, ...]:
    """Reads attacks separated by commas, each with '*R' behind its name for R restarts: 'pgd_20*5,square'.

    An unknown name, a wrong number of restarts and an attack that is named twice raise ValueError.
    """
    attacks = []
    for part in text.split(","):
        name, star, restarts = part.strip().partition("*")
        if star and not restarts.isdecimal():
            raise ValueError(f"{part.strip()!r}: expected a number of restarts after '*'.")
        attacks.append(find(name).repeated(int(restarts)) if star else find(name))
    names = [attack.name for attack in attacks]
    for attack in attacks:
        if names.count(attack.name) > 1:
            remedy = (
                f"write '{attack.name}*R' for R restarts" if attack.repeatable else "name it once: it has no restarts"
            )
            raise ValueError(f"attack {attack.name!r} is named twice; {remedy}.")
    return tuple(attacks)


def label_of(text: str) -> str:
    """The label of 'auto_attack', of an attack, or of several separated by commas; unknown names as they are."""
    if text == AUTO_ATTACK:
        return "AutoAttack"
    labels = []
    for part in text.split(","):
        name, _, restarts = part.strip().partition("*")
        label = find(name).label if is_known(name) else name
        labels.append(f"{label} with {restarts} restarts" if restarts else label)
    return ", ".join(labels)

"""A study: the arms of a configuration, its student and baselines, over several seeds, and statistics between them.

Every seed is an ordinary run in a folder of its own, `seed_<n>`, with its search, its teacher (unless teacher.path
names one) and all arms, which start from the same weights and see the same images. Any number of workers share a study
by its seeds; each resumes in the middle of an arm, and whoever finishes the last seed writes `study.json`.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from pathlib import Path
import shlex

import jax
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.outcomes import FOLDER, Outcomes, measurement
from rnas.artifacts.study_results import FILE, VERSUS, StudyArm, StudyComparison, StudyResults, models_of, seed_folder
from rnas.attacks import radius
from rnas.attacks.catalogue import AUTO_ATTACK
from rnas.config import record_config
from rnas.evaluation.paired_statistics import compare, detectable_difference
from rnas.evaluation.robustness_table import HEADLINE_ATTACK
from rnas.runs.recipes import BASELINE, evaluated_names
from rnas.runs.run import Run
from rnas.runs.stages import execute, is_finished, open_run
from rnas.runs.workers import Piece, work
from rnas.training.messages import say


def run_study(
    config: ConfigDict, workdir: Path, index: int = 0, count: int = 1, *, command: str,
    report: Callable[[Path], object] = lambda workdir: None,
    report_study: Callable[[Path], object] = lambda workdir: None,
    announce: Callable[[Run, int], object] = lambda run, seeds: None,
) -> None:  # fmt: skip
    """Runs the seeds of a study, or the share `index` of `count` of them, as one of any workers; compares the arms.

    Args:
      command: what started it, for the record of every run.
      report, report_study: draw the page of a run and of the study.
      announce: is told what lies ahead: the run of a seed, and how many seeds of the share are not finished.

    Raises ValueError for a configuration that cannot work, or is not the directory's.
    """
    seeds = tuple(config.study.seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"study.seeds={seeds}: expected one seed or more, all different.")
    if not 0 <= index < count:
        raise ValueError(f"shard {index}/{count}: expected i/n, with i from 0 to n - 1.")
    if count > len(seeds):
        raise ValueError(f"shard {index}/{count}: the study has {len(seeds)} seeds to share, so n is at most that.")
    comparisons_of(config)
    mine = seeds[index::count]
    ahead = [seed for seed in mine if not _finished(workdir, seed)]
    first = (ahead or mine)[0]
    run = open_run(_of_seed(config, first), folder(workdir, first))
    images = min(config.evaluation.count or np.inf, len(run.dataset.test))
    record_config(workdir, config)
    _announce(config, mine, int(images))
    if ahead:
        announce(run, len(ahead))
    pieces = [
        Piece(
            name=seed_folder(seed),
            title=f"study: seed {seed}",
            cost=1.0,
            is_done=functools.partial(is_finished, folder(workdir, seed)),
            do=functools.partial(
                execute, _of_seed(config, seed), folder(workdir, seed), command=command, report=report
            ),
        )
        for seed in mine
    ]
    left = work(workdir, pieces, failing=())
    missing = [seed for seed in seeds if not _finished(workdir, seed)]
    if missing:
        say(f"study: seeds {', '.join(map(str, missing))} are not finished yet.")
        for name, reason in left.items():
            say(f"  {name}: {reason}")
        return
    if jax.process_index() == 0:
        results = collect(config, workdir)
        results.write(workdir / FILE)
        report_study(workdir)
        say(conclusions(results))


def folder(workdir: Path, seed: int) -> Path:
    """The work directory of a seed's run."""
    return workdir / seed_folder(seed)


def comparisons_of(config: ConfigDict) -> list[tuple[str, str]]:
    """(arm, reference) of each comparison, as names of models; without any in the configuration, all with the student.

    Raises ValueError for a comparison of what is no arm.
    """
    names = evaluated_names(config)
    given = tuple(config.comparisons)
    if not given:
        return [(name, "student") for name in names if name.startswith(BASELINE)]
    pairs = {text: models_of(text) for text in given}
    fitting = {text: arms for text, arms in pairs.items() if len({*arms}) == len(arms) == 2 and {*arms} <= {*names}}
    if wrong := [text for text in given if text not in fitting]:
        known = ", ".join(name.removeprefix(BASELINE) for name in names)
        raise ValueError(
            f"comparisons has {wrong[0]!r}: expected 'ARM{VERSUS}REFERENCE', two of {known}. To go on with those that "
            f"fit: --config.comparisons={shlex.quote(str(tuple(fitting)))}"
        )
    return [(arms[0], arms[1]) for arms in fitting.values()]


def collect(config: ConfigDict, workdir: Path) -> StudyResults:
    """Reads all seeds and compares the arms.

    Raises ValueError where a seed is not finished, or seeds were judged on different images.
    """
    seeds = tuple(config.study.seeds)
    folders = [folder(workdir, seed) for seed in seeds]
    arms = {name: [(each, name) for each in folders] for name in evaluated_names(config)}
    return results_of(config, seeds, arms, comparisons_of(config))


def results_of(
    config: ConfigDict,
    seeds: Sequence[int],
    arms: Mapping[str, Sequence[tuple[Path, str]]],
    comparisons: Sequence[tuple[str, str]],
) -> StudyResults:
    """Reads what the arms kept, and compares them.

    Args:
      config: of one of the runs; radii and data are those of all.
      arms: name of the arm → work directory and name of the model there, one for each of `seeds`.
      comparisons: (arm, reference) of each.

    Raises ValueError where a run is not finished, or was judged on other images than the others.
    """
    epsilons = tuple(config.evaluation.epsilons)
    evaluations = {at: Evaluation.read(at / EVALUATION) for models in arms.values() for at, _ in models}
    outcomes = {name: [Outcomes.read(at / FOLDER / f"{model}.npz") for at, model in arms[name]] for name in arms}
    first = next(iter(outcomes.values()))[0]
    for name, of_seeds in outcomes.items():
        for seed, found in zip(seeds, of_seeds, strict=True):
            first.check_same_images(found, f"{next(iter(arms))} of seed {seeds[0]} and {name} of seed {seed}")
    judged = {arm for pair in comparisons for arm in pair}
    strongest = measurement(AUTO_ATTACK, epsilons[0])
    by_auto_attack = bool(judged) and all(strongest in found.right for name in judged for found in outcomes[name])
    measured = [measurement(HEADLINE_ATTACK.name, epsilon) for epsilon in epsilons]
    measured += [strongest] if by_auto_attack else []
    # Where few networks stand the largest radius, they may differ below it.
    most = max(map(radius, epsilons))
    below = [at for at in config.evaluation.curve if 0 < radius(at) < most and at not in epsilons]
    measured += [measurement("curve", at) for at in below]
    found = [
        StudyComparison(measurement=what, **vars(each))
        for what in (("clean", *measured) if comparisons else ())
        for each in compare(
            {name: np.stack([one.right[what] for one in outcomes[name]]) for name in judged}, comparisons
        )
    ]  # fmt: skip
    sample = next(iter(evaluations.values()))
    return StudyResults(
        seeds=tuple(seeds),
        images=len(first.ids),
        dataset=sample.dataset,
        epsilons=epsilons,
        training_epsilon=radius(config.adversarial.epsilon),
        headline=strongest if by_auto_attack else measured[0],
        detectable=detectable_difference(len(first.ids)),
        arms=tuple(
            _arm(name, [evaluations[at].models[model] for at, model in arms[name]], outcomes[name]) for name in arms
        ),
        comparisons=tuple(found),
        versions=sample.versions,
        precision=sample.precision,
    )


def conclusions(results: StudyResults) -> str:
    """The comparisons at the headline, one line each."""
    lines = [f"accuracy under {results.headline}, difference in points (95 % interval), p after Holm:"]
    for row in results.comparisons:
        if row.measurement == results.headline:
            low, high = (100 * bound for bound in row.interval)
            arms = f"{results.arm(row.arm).label} : {results.arm(row.reference).label}"
            lines.append(
                f"  {100 * row.difference:+6.1f} ({low:+.1f} to {high:+.1f}), p = {row.p_adjusted:.2g}  {arms}"
            )
    return "\n".join(lines)


def _of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    own = config.copy_and_resolve_references()
    with own.unlocked():
        own.seed = seed
        for key in ("auto_attack", "auto_attack_count"):
            own.evaluation[key] = config.study[key]
    return own.lock()


def _finished(workdir: Path, seed: int) -> bool:
    return (folder(workdir, seed) / EVALUATION).exists()


def _announce(config: ConfigDict, seeds: Sequence[int], images: int) -> None:
    arms = len(config.baselines) + 1
    detectable = 100 * detectable_difference(images)
    say(
        f"study: {arms} arms, {len(seeds)} of {len(config.study.seeds)} seeds; {images} test images show a difference "
        f"of {detectable:.1f} points between two trained models with 80 % power if they disagree on 15 %."
    )


def _arm(name: str, scores: Sequence[ModelScores], outcomes: Sequence[Outcomes]) -> StudyArm:
    def over_seeds(what: str) -> tuple[float, ...]:
        return tuple(float(found.right[what].mean()) for found in outcomes)

    shared = [what for what in outcomes[0].right if all(what in found.right for found in outcomes)]
    curve = measurement("curve", "")
    corrupted = [each.corruptions for each in scores]
    return StudyArm(
        name=name,
        kind=scores[0].kind,
        label=scores[0].label,
        params=tuple(each.params for each in scores),
        macs=tuple(each.macs for each in scores),
        accuracies={what: over_seeds(what) for what in shared if not what.startswith(curve)},
        curve={what.removeprefix(curve): over_seeds(what) for what in shared if what.startswith(curve)},
        corruptions=None if None in corrupted else tuple(each.accuracy for each in corrupted),
    )

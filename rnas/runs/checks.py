"""All that is checked before a run: first its configuration, then what lies outside it."""

import shlex

import jax
from ml_collections import ConfigDict

from rnas import attacks
from rnas.attacks import catalogue
from rnas.config.checks import value_of
from rnas.evaluation.robustness_table import HEADLINE_ATTACK
from rnas.models import build_model
from rnas.objectives import METHODS
from rnas.runs import recipes
from rnas.runs.baselines import Baseline, parse
from rnas.runs.run import Run
from rnas.runs.teacher_sources import cache_folder, cache_identity
from rnas.steps.optimizer import make_optimizer
from rnas.teachers.cache import matching_identity
from rnas.teachers.teacher import CARD
from rnas.training.loaders import per_device
from rnas.training.messages import say
from rnas.training.trackers import check_trackers


def check_config(run: Run) -> None:
    """Raises ValueError for a configuration that cannot work; reads and writes nothing."""
    config, evaluation = run.config, run.config.evaluation
    if not recipes.joint_objective(config, "search").searches:
        raise ValueError(
            f"search.objective={config.search.objective!r} trains fixed networks only; name it in train.objective, "
            "and search with another objective."
        )
    recipes.joint_objective(config, "train")
    for section in (config.teacher, config.search, config.train, config.finetune):
        make_optimizer(section.optimizer, epochs=1, steps_per_epoch=1)
    make_optimizer(config.search.arch_optimizer, epochs=1, steps_per_epoch=1)
    for length in (*evaluation.epsilons, *evaluation.curve):
        attacks.radius(length)
    table = catalogue.parse(evaluation.attacks)
    if other := [attack.name for attack in table if attack.program != "ascent"]:
        raise ValueError(f"evaluation.attacks: {other[0]} is no projected ascent; use rnas attack.")
    if HEADLINE_ATTACK.name not in [attack.name for attack in table]:
        raise ValueError(
            f"evaluation.attacks={evaluation.attacks!r} lacks {HEADLINE_ATTACK.name}, the headline of every page."
        )
    if recipes.recipe(config, "teacher").objective.needs_teacher:
        raise ValueError(f"teacher.objective={config.teacher.objective!r} needs a teacher itself; use another.")
    recipes.recipe(config, "finetune")
    run.search.check()
    _check_baselines(config)
    if not config.teacher.path and recipes.uses_teacher(config):
        data = config.data
        build_model(config.teacher.architecture, mean=data.mean, std=data.std, num_classes=data.num_classes)
    _check_first_epochs(config)
    _check_mixed_labels(config)
    names = recipes.model_names(config)
    for key in ("study.auto_attack", "evaluation.auto_attack", "evaluation.corruptions", "evaluation.models"):
        if unknown := sorted(set(value_of(config, key)) - {*names, *recipes.GROUPS}):
            known = ", ".join((*names, *recipes.GROUPS))
            raise ValueError(f"{key} names {', '.join(unknown)}; this run will have {known}.")
    _check_cache(config)


def check_surroundings(run: Run) -> None:
    """Raises ValueError for what is missing or unfit outside the configuration: data, devices, directories."""
    config = run.config
    check_trackers(config.trackers)
    images = run.dataset.fingerprint["counts"]["train"]
    if config.teacher.path:
        _ = run.teacher
    if config.teacher.natural_path:
        _ = run.natural_teacher
    trains = {"teacher": recipes.trained_teachers(config), "search": run.search.searches}
    for stage in (*filter(trains.get, trains), "train"):
        each = per_device(size := config[stage].batch_size, f"{stage}.batch_size")
        if size > images:
            raise ValueError(f"{stage}.batch_size = {size}, but there are {images} training images: use at most that.")
    if config.train.cutmix and each % 2:
        raise ValueError(
            f"train.batch_size = {size} gives each of {jax.device_count()} devices {each} images, but train.cutmix "
            f"mixes them in pairs: use {size + jax.device_count()}."
        )
    if wanted := recipes.extra_images(config):
        if (there := len(run.extra.images)) < wanted:
            raise ValueError(
                f"data.extra has {there} images, but a batch takes {wanted} of them: lower data.extra_share."
            )
        out = {name: number for name, number in run.extra.fingerprint["left_out"].items() if number}
        words = "".join(f", {number:,} left out ({what})" for what, number in out.items())
        say(f"data.extra: {there:,} images of {config.data.extra}{words}, {wanted} of a batch of {size}.")
    if run.search.searches:
        run.search.steps_per_epoch(images)
    given = config.teacher.path or (run.workdir / "teacher" / CARD).exists()
    if config.teacher.cache.views and recipes.uses_teacher(config) and given:
        matching_identity(cache_identity(run), cache_folder(run))


def check_cacheable(config: ConfigDict) -> None:
    """Raises ValueError where the configuration wants no teacher cache, or no teacher."""
    if not config.teacher.cache.views:
        raise ValueError("teacher.cache.views is 0, so nothing is kept; give --config.teacher.cache.views=N.")
    if not recipes.uses_teacher(config):
        raise ValueError("no stage learns from a teacher (gamma and kl_weight are 0): there is nothing to keep.")


def _check_baselines(config: ConfigDict) -> None:
    """Refuses baselines that keep a term which the student does not have, and tutors where none are searched."""
    lacking = {name: need for name in config.baselines if (need := _lacks(config, parse(name)))}
    if lacking:
        names = {need: [repr(name) for name in lacking if lacking[name] == need] for need in lacking.values()}
        needs = "; ".join(f"{', '.join(those)} need{'s' * (len(those) == 1)} {need}" for need, those in names.items())
        rest = tuple(name for name in config.baselines if name not in lacking)
        raise ValueError(f"baselines: {needs}. To go without: --config.baselines={shlex.quote(str(rest))}")


def _lacks(config: ConfigDict, own: Baseline) -> str | None:
    """What a baseline needs that the configuration has not; None where nothing is missing."""
    kept = {"kl_only": ("kl_weight",), "attention_only": ("gamma",), "kl_and_attention": ("gamma", "kl_weight")}
    for key in kept.get(own.terms or "", ("gamma",) if own.tutors else ()):
        if not config.train[key]:
            return f"train.{key}, which is 0"
    if own.tutors and not recipes.joint_objective(config, "search").gamma:
        return "a search with tutors, but search.gamma is 0"
    if own.tutors == "tutors_robust" and not config.data.held_out:
        return "held-out images, but data.held_out is 0"
    return None


def _check_first_epochs(config: ConfigDict) -> None:
    """Refuses what would begin in an epoch that the stage never reaches."""
    for stage in ("teacher", "train", *(f"{recipes.BASELINE}{name}" for name in config.baselines)):
        how = recipes.recipe(config, stage)
        gamma, first_epoch = how.perturbation
        if gamma and first_epoch >= how.epochs:
            raise ValueError(
                f"stage {stage} perturbs its weights from epoch {first_epoch} on, which it never reaches in "
                f"{how.epochs}: train longer, or without."
            )
        method = how.objective.adversarial
        if method.first_epoch >= how.epochs:
            raise ValueError(
                f"stage {stage} trains by {method.name} from epoch {method.first_epoch} on, which it never reaches in "
                f"{how.epochs}: set adversarial.{method.name}.first_epoch lower, or train longer."
            )


def _check_mixed_labels(config: ConfigDict) -> None:
    """Refuses mixed images for a method that has no loss of mixed labels."""
    for stage in recipes.learners(config):
        how = recipes.recipe(config, stage)
        if how.cutmix and not how.objective.adversarial.mixes_labels:
            fit = ", ".join(name for name, method in METHODS.items() if method.mixes_labels)
            raise ValueError(
                f"stage {stage} trains by {how.objective.adversarial.name}, whose loss is not defined for the mixed "
                f"labels of train.cutmix={how.cutmix}: use train.cutmix=0, or one of {fit}."
            )


def _check_cache(config: ConfigDict) -> None:
    """Refuses a teacher cache that could not serve."""
    if not config.teacher.cache.views:
        return
    for stage in recipes.learners(config):
        if recipes.recipe(config, stage).objective.needs_teacher_on_adversarial:
            raise ValueError(
                f"stage {stage} needs teacher outputs of adversarial images, which depend on the student: a teacher "
                "cache does not apply. Use teacher.cache.views=0, or another objective."
            )
    search, train = (recipes.augmentation(config, name) for name in ("search", "train"))
    if search != train:
        raise ValueError(
            f"a teacher cache holds one augmentation, but search has {search} and training {train}; make them "
            "alike (train.cutout=0), or use teacher.cache.views=0."
        )

"""Stages `train`, `finetune` and `baselines`: they train the network that was found, and what it is compared with."""

import dataclasses
from typing import Any

from rnas.artifacts.architecture import Architecture
from rnas.objectives import FixedTutors, SampledTutors
from rnas.runs.baselines import SEARCHED_TUTORS, parse
from rnas.runs.recipes import BASELINE, initial_variables, recipe
from rnas.runs.run import Run
from rnas.runs.stage_trainers import first_state, network_trainer, trained
from rnas.runs.stages.search_architecture import search_tutors, searched_state
from rnas.steps.state import State
from rnas.training.programs import forget_programs
from rnas.training.trainer import Trainer


def train_student(run: Run) -> None:
    """Trains the network that was found, with the tutors that the search chose."""
    trainer, state = _prepare(run, "train", run.architecture)
    trainer.fit(state)


def finetune_student(run: Run) -> None:
    """Goes on from the trained network with TRADES or another method, where finetune.epochs is not 0."""
    if run.config.finetune.epochs:
        architecture = run.architecture
        start = trained(run, recipe(run.config, "train"), run.search.network(architecture))
        trainer, state = _prepare(run, "finetune", architecture, start.state.outcome)
        trainer.fit(state)


def train_baselines(run: Run) -> None:
    """Trains the networks that the student is compared with; architectures and tutors of their own go to a file."""
    for name in run.config.baselines:
        architecture, own = run.baseline_architecture(name), parse(name)
        if own.tutors in SEARCHED_TUTORS:
            weight = run.config.baseline_selector.robustness if own.tutors == "tutors_robust" else 0.0
            searched = "+".join(filter(None, (own.architecture, own.tutors)))  # baselines of other terms share it
            tutors = search_tutors(run, architecture, searched, weight)
            architecture = dataclasses.replace(architecture, tutor_assignment=tutors)
        if own.architecture or own.tutors:
            run.save_architecture(architecture, run.baseline_file(name))
        trainer, state = _prepare(run, f"{BASELINE}{name}", architecture)
        trainer.fit(state)
        forget_programs()


def _prepare(run: Run, stage: str, architecture: Architecture, start: Any = None) -> tuple[Trainer, State]:
    """The trainer of a stage, and the state it starts from: of variables `start`, of the search's, or of fresh ones.

    Baselines of the same network start where the student does.
    """
    how, model = recipe(run.config, stage), run.search.network(architecture)
    tutors = _tutors(run, architecture) if how.objective.gamma else None
    trainer = network_trainer(run, how, model, tutors)
    start = start or run.search.initial_student(architecture, lambda: searched_state(run))
    return trainer, first_state(how, start or initial_variables(model, run.config, "train"))


def _tutors(run: Run, architecture: Architecture) -> FixedTutors | SampledTutors:
    assignment = architecture.tutor_assignment
    if not assignment.tutors:
        raise ValueError(
            "train.gamma is not 0, but the architecture has no tutors: its search ran with gamma = 0. Search with "
            "gamma, or train with --config.train.gamma=0."
        )
    own = run.teacher.identity
    if assignment.teacher != own:
        raise ValueError(
            f"the tutors of {run.workdir / 'architecture.json'} are layers of another teacher "
            f"({assignment.teacher}); this one is {own}."
        )
    if run.config.derive.tutor == "sampled" and len(assignment.logits):
        return SampledTutors(architecture.taps, assignment.teacher_taps, tuple(map(tuple, assignment.logits)))
    return FixedTutors(architecture.taps, assignment.tutors, len(assignment.teacher_taps))

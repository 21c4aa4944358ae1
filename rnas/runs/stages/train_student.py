"""Stages `train`, `finetune` and `baselines`: they train the network that was found, and what it is compared with."""

import dataclasses
from typing import Any

import flax.linen as nn

from rnas.artifacts.architecture import Architecture
from rnas.objectives import FixedTutors, SampledTutors
from rnas.runs.arm_trainer import Arm, train_arms
from rnas.runs.baselines import SEARCHED_TUTORS, parse
from rnas.runs.recipes import BASELINE, initial_variables, recipe
from rnas.runs.run import Run
from rnas.runs.stage_trainers import first_state, network_trainer, trained
from rnas.runs.stages.search_architecture import search_tutors, searched_state
from rnas.steps import forget_programs
from rnas.steps.state import State
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
    arms: dict[nn.Module, list[Arm]] = {}
    for name in run.config.baselines:
        model, arm = _arm(run, f"{BASELINE}{name}", _baseline_architecture(run, name))
        arms.setdefault(model, []).append(arm)
    for model, of_model in arms.items():
        train_arms(run, model, of_model)


def _baseline_architecture(run: Run, name: str) -> Architecture:
    """The architecture of a baseline, whose tutors are searched first where they are to be."""
    architecture, own = run.baseline_architecture(name), parse(name)
    if own.tutors in SEARCHED_TUTORS:
        weight = run.config.baseline_selector.robustness if own.tutors == "tutors_robust" else 0.0
        searched = "+".join(filter(None, (own.architecture, own.tutors)))  # baselines of other terms share it
        tutors = search_tutors(run, architecture, searched, weight)
        architecture = dataclasses.replace(architecture, tutor_assignment=tutors)
        forget_programs()
    if own.architecture or own.tutors:
        run.save_architecture(architecture, run.baseline_file(name))
    return architecture


def _prepare(run: Run, stage: str, architecture: Architecture, start: Any = None) -> tuple[Trainer, State]:
    """The trainer of a stage, and the state it starts from."""
    model, arm = _arm(run, stage, architecture, start)
    return network_trainer(run, arm.recipe, model, arm.tutors), arm.state


def _arm(run: Run, stage: str, architecture: Architecture, start: Any = None) -> tuple[nn.Module, Arm]:
    """The network of a stage and how it is trained, from variables `start`, from the search's, or from fresh ones.

    Baselines of the same network start where the student does.
    """
    how, model = recipe(run.config, stage), run.search.network(architecture)
    tutors = _tutors(run, architecture) if how.objective.gamma else None
    start = start or run.search.initial_student(architecture, lambda: searched_state(run))
    state = first_state(how, start or initial_variables(model, run.config, "train"))
    return model, Arm(how, tutors, state, run.config.seed)


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

"""Stage `derive`: reads the architecture off the search, or takes the one that is given, and writes it."""

import dataclasses
from typing import Any

from rnas.artifacts.architecture import TutorAssignment
from rnas.runs.recipes import joint_objective
from rnas.runs.run import Run
from rnas.runs.stages.search_architecture import keep_latency_table, searched_state
from rnas.runs.tutor_assignments import searched_assignment
from rnas.training.hosts import done_on_first
from rnas.training.messages import say


def derive_architecture(run: Run) -> None:
    """Writes `architecture.json`."""
    architecture = run.search.given()
    if architecture is None:
        done_on_first(lambda: keep_latency_table(run))
        architecture, selector, warnings = run.search.derive(searched_state(run))
        for warning in warnings:
            say(f"warning: {warning}")
        architecture = dataclasses.replace(architecture, tutor_assignment=_tutor_assignment(run, selector))
    run.save_architecture(architecture)


def _tutor_assignment(run: Run, selector: Any) -> TutorAssignment:
    """Reads tutors off the searched selector [n_s, n_t]; there are none where the search did not match maps."""
    if not joint_objective(run.config, "search").gamma:
        return TutorAssignment()
    return searched_assignment(run.teacher, selector)

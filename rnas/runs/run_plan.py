"""What lies ahead of a run, or behind it, in a few lines before it starts."""

from collections.abc import Mapping, Sequence

import jax

from rnas.artifacts.run_record import StageRecord
from rnas.runs.run import Run
from rnas.runs.training_cost import StageCost
from rnas.training.messages import duration

FREE = ("derive", "report")  # stages that compute next to nothing


def plan(
    run: Run,
    wanted: Sequence[str],
    done: Mapping[str, StageRecord],
    costs: Mapping[str, StageCost],
    speeds: Mapping[str, float],
    seeds: int = 1,
) -> str:
    """One line a stage: its steps and about how long it takes, or that it is complete; first what it runs on and where.

    Args:
      wanted: the stages to run, in order.
      done: what is known of stages that have begun.
      costs, speeds: see `rnas.runs.training_cost`.
      seeds: how many such runs there are to do, for a last line.
    """
    config, devices = run.config, jax.device_count()
    width = max(map(len, wanted)) + 2
    lines = [
        f"{run.workdir}: {config.system}, {config.data.name}, seed {config.seed}, {config.dtype}, "
        f"{devices} × {jax.devices()[0].device_kind}"
    ]
    left = {"about": 0.0, "at most": 0.0}
    for stage in wanted:
        entry, cost = done.get(stage, StageRecord("running")), costs.get(stage, StageCost())
        if entry.status == "complete":
            lines.append(f"  {stage.ljust(width)}complete, {duration(entry.seconds)}")
            continue
        if stage not in (*costs, *FREE):  # nothing to do: a teacher that is given, no baselines
            continue
        seconds = cost.seconds(speeds) or 0.0
        bound = "at most" if stage == "evaluate" else "about"  # images that are fooled drop out
        left[bound] += seconds
        words = []
        if cost.steps:
            words += [f"{cost.steps:,} steps", f"{cost.epochs} epochs"]
        if seconds:
            words.append(f"{bound} {duration(seconds)}")
        if entry.starts:
            words.append("begun")
        lines.append(f"  {stage.ljust(width)}{', '.join(words)}".rstrip())
    for what, times in {"in all": 1, **({f"{seeds} seeds": seeds} if seeds > 1 else {})}.items():
        if ahead := " and ".join(f"{bound} {duration(times * each)}" for bound, each in left.items() if each):
            lines.append(f"  {what.ljust(width)}{ahead}, compiling aside")
    return "\n".join(lines)

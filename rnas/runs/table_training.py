"""Trains the networks of a table adversarially: the protocol of NAS-RobBench-201 (arXiv 2403.13134).

A network that was stopped goes on from its checkpoint; one whose result is written is never touched again. Workers
share nothing but the work directory, and the outcome of a network depends on its cell and seed alone. With shared
weights the cells of a seed are one supernet, trained one uniformly drawn cell a step (Guo et al. 2020, "Single Path
One-Shot Neural Architecture Search with Uniform Sampling", arXiv 1904.00420), and each is judged with its weights; a
piece of work is then a seed.

Not here: model choice, of which the protocol has none; the last epoch counts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
import shlex
import shutil

import jax
from ml_collections import ConfigDict

from rnas.artifacts.failure import failures
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.table_results import check_protocol, planned_networks, result_file
from rnas.config.load import record_config
from rnas.runs.table_evaluation import TableJudge
from rnas.runs.table_models import keep_weights
from rnas.runs.table_run import STAGE, Group, TableRun
from rnas.runs.workers import Piece, work
from rnas.spaces import nasbench201
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import ResidentLoader
from rnas.training.messages import program, say
from rnas.training.metrics_log import MetricsLog
from rnas.training.trainer import Plan, Trainer


def plan_groups(archs: Sequence[str], seeds: Sequence[int], size: int | None) -> list[Group]:
    """Cuts `planned_networks` into what is trained at a time: up to `size` cells (None: all), one seed."""
    networks = planned_networks(archs, seeds)
    cells = len(networks) // len(seeds)
    size = size or cells
    return [
        tuple(networks[first : min(first + size, start + cells)])
        for start in range(0, len(networks), cells)
        for first in range(start, start + cells, size)
    ]


def train_table(
    config: ConfigDict, workdir: Path, index: int = 0, count: int = 1, *, report: Callable = lambda folder: None
) -> None:
    """Trains and attacks the networks of a table, or the share `index` of `count` of them, as one of any workers.

    Each takes what is not finished and nobody else is at; see `rnas.runs.workers`. Results go to `results/` of the work
    directory. `report` draws the page of a folder of AutoAttack. Raises ValueError for a configuration that cannot
    work, or is not the directory's, and for networks that diverged, once the others are finished.
    """
    if not 0 <= index < count:
        raise ValueError(f"shard {index}/{count}: expected i/n, with i from 0 to n - 1.")
    run = TableRun(config, workdir)
    run.check()
    judge = TableJudge(run, report)
    groups = plan_groups(config.archs, config.seeds, None if run.shared else config.train.side_by_side)
    run.check_surroundings()
    check_protocol(workdir, run.protocol)
    record_config(workdir, config)
    pieces = [_piece(run, judge, group) for group in groups[index::count]]
    waiting = [piece for piece in pieces if not piece.is_done()]
    say(
        f"{len(pieces)} of {len(groups)} pieces of the table are in share {index}/{count}; to do {len(waiting)}, about "
        f"{sum(piece.cost for piece in waiting):.3g} multiply-accumulates. Start as many workers as you like."
    )
    left = work(workdir, pieces)
    done = [result_file(workdir, network).exists() for group in groups for network in group]
    merge = f"{program()} tabular merge {shlex.quote(str(workdir))} --output=FILE"
    say(f"{sum(done)} of {len(done)} networks are finished. To write the table:\n  {merge}")
    for name, reason in left.items():
        say(f"  {name}: {reason}")
    if any(name in left for name in failures(workdir)):
        again = f"{program()} tabular retry {shlex.quote(str(workdir))}"
        raise ValueError(
            f"some networks failed, see above; all others of this share are done. To try again:\n  {again}"
        )


def _piece(run: TableRun, judge: TableJudge, group: Group) -> Piece:
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return Piece(
        name=run.folder(group).name,
        title=f"{nasbench201.to_code(group[0].id)} ({group[0].name}){more}",
        cost=run.cost([group]),
        is_done=lambda: all(result_file(run.workdir, network).exists() for network in group),
        do=lambda: _finish(run, judge, group),
    )


def _trainer(run: TableRun, group: Group) -> Trainer:
    config, seed, per_epoch = run.config, group[0].seed, run.steps_per_epoch
    log_every, checkpoint_every = config.log_every_steps, config.checkpoint_every_steps
    total = config.train.epochs * per_epoch
    plan = Plan(STAGE, total, per_epoch, log_every, checkpoint_every, validate_every=0, seed=seed)
    images, batch_size = run.dataset.train, config.train.batch_size
    loader = ResidentLoader(
        images.images, images.labels, run.sampler(seed).rows_at, batch_size=batch_size, most=log_every,
        what="train.batch_size",
    )  # fmt: skip
    steps = run.run_one if run.shared or len(group) == 1 else run.run_side_by_side
    folder = run.folder(group)
    return Trainer(plan, steps, loader, Checkpoints(folder / "checkpoints"), MetricsLog(folder, STAGE, config.trackers))


def _finish(run: TableRun, judge: TableJudge, group: Group) -> None:
    """Trains a group and writes the results of those of its networks that have none yet."""
    folder = run.folder(group)
    with locked(folder, "; perhaps this shard was started twice"):
        state = _trainer(run, group).fit(run.initial_state(group))
        for row, network in enumerate(group):
            if not result_file(run.workdir, network).exists():
                variables = state.variables
                if run.shared:
                    variables = judge.calibrated(variables, network.id)
                elif len(group) > 1:
                    variables = jax.tree.map(lambda leaf, row=row: leaf[row], variables)
                if run.config.train.keep_weights and jax.process_index() == 0:
                    keep_weights(run, network, variables)  # before its result, which says that all is done
                judge.judge(network, variables)
        shutil.rmtree(folder / "checkpoints")

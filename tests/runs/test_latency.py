"""Latency: how it is timed, the table of a space, and a search whose cost it is."""

import functools
import itertools
import json
import math
from pathlib import Path
import shutil
import time

import jax.numpy as jnp
import numpy as np
import pytest

from rnas.artifacts.latency import FILE, Latency, NetworkTiming, Timing
from rnas.artifacts.latency_table import FILE as TABLE
from rnas.artifacts.latency_table import LatencyTable
from rnas.cli import platform
from rnas.config import load_config, recorded_config
from rnas.export import network_timing
from rnas.layers.counting import count
from rnas.main import main
from rnas.models import FBNet
from rnas.runs import block_timing, timing
from rnas.runs.block_timing import measure_table
from rnas.runs.stages import execute, open_run
from rnas.runs.stages.search_architecture import keep_latency_table
from rnas.spaces import width_space
from rnas.steps import Augmentation

DIGITS = str(Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py")
TINY, SHAPE = width_space.get_space("tiny"), (8, 8, 1)
MACS = functools.partial(width_space.cost, TINY, image_shape=SHAPE, num_classes=10)
PER_MS = 1e6  # multiply-accumulates in a millisecond of the device that the tests imagine


def ideal(macs) -> Timing:
    return Timing(macs / PER_MS, macs / PER_MS, macs / PER_MS, 1)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    """The table of a device that takes a nanosecond for a multiply-accumulate, and the number of its measurements."""
    network = FBNet(space=TINY, num_classes=10, mean=(0.3,), std=(0.4,))
    return measure_table(
        network, SHAPE,
        of_block=lambda module, shape: ideal(count(module, shape, None, None, train=False).macs),
        of_network=lambda module, shape: ideal(count(module, shape).macs),
    )  # fmt: skip


@pytest.fixture
def file(table, tmp_path) -> Path:
    table.write(tmp_path / "device.json")
    return tmp_path / "device.json"


def latency_config(file, *more):
    flags = [f"--config.cost.table={file}", "--config.cost.kind=latency", *(f"--config.{flag}" for flag in more)]
    return load_config(DIGITS, flags)


# -- timing ----------------------------------------------------------------------------------------------


def test_the_median_and_the_quartiles_of_calls(monkeypatch):
    """Calls of 1, 2, … 10 ms by a clock of our own; the first three are a warm-up."""
    clock, lengths = [0.0], itertools.chain([9.0] * 3, [each / 1000 for each in range(1, 11)])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += next(lengths)

    found = timing.timed(call, seconds=0.0)
    assert found.calls == 10
    assert [found.low, found.median, found.high] == pytest.approx([3.25, 5.5, 7.75])


def test_networks_are_timed_in_every_runtime():
    network = FBNet(space=TINY, widths=TINY.smallest, num_classes=10, mean=(0.3,), std=(0.4,))
    found = network_timing.time_networks({"student": network}, SHAPE, seconds=0.0)
    has_runtime = all(map(network_timing.util.find_spec, network_timing.EXTRA))
    runtimes = ("jax", "onnxruntime") if has_runtime else ("jax",)
    assert [(row.network, row.runtime, row.batch) for row in found.networks] == [
        ("student", runtime, batch) for runtime in runtimes for batch in (1, 128)
    ]
    for row in found.networks:
        assert row.macs == MACS(TINY.smallest)
        assert 0 < row.timing.low <= row.timing.median <= row.timing.high and row.timing.calls >= timing.FEWEST
    assert found.threads == timing.cores() >= 1 and "jax" in found.versions
    assert Latency.from_json(json.loads(json.dumps(found.to_json()))) == found


# -- the table -------------------------------------------------------------------------------------------


def test_a_table_of_work_is_the_count_of_work(table):
    """With time in proportion to multiply-accumulates the table must give those of `width_space.cost`."""
    latency, random = table.network_latency(TINY), np.random.default_rng(0)
    for widths in (TINY.smallest, TINY.largest):
        assert latency(widths) == pytest.approx(MACS(widths) / PER_MS)
    for _ in range(30):
        widths = tuple(int(random.choice(block.options)) for block in TINY.blocks)
        assert latency(widths) == pytest.approx(MACS(widths) / PER_MS, rel=1e-3)  # but for the classifier's share
    soft = [jnp.float32(width) for width in widths]
    assert float(latency(soft)) == pytest.approx(latency(widths), rel=1e-5)


def test_blocks_of_one_kind_are_measured_once():
    space, seen = width_space.get_space("s7"), []

    def of_block(module, shape):
        seen.append((module.features, module.expanded, module.stride, shape))
        return ideal(module.features + shape[2])

    network = FBNet(space=space, num_classes=10, mean=(0.5,) * 3, std=(0.2,) * 3)
    table = measure_table(
        network, (32, 32, 3), of_block=of_block, of_network=lambda module, _: ideal(sum(module.widths))
    )
    assert len(table.blocks) == len(space.blocks) == 21
    # The first block has one input, blocks of the first stage two by two, and each later stage two kinds.
    assert len(seen) == 1 * 2 + 2 * 2 + 2 * 4 + 4 * 4 + 4 * 4 + 4 * 4
    assert all(max(len(block.inputs), len(block.outputs)) <= block_timing.KNOTS for block in table.blocks)


def test_one_block_is_really_measured():
    network = FBNet(space=TINY, num_classes=10, mean=(0.3,), std=(0.4,))
    block = block_timing.block_module(network, TINY.blocks[1], width=12, largest=16, features=12)
    found = block_timing.time_block(block, (8, 8, 12))
    assert 0 < found.low <= found.median <= found.high < 1000


# -- the search ------------------------------------------------------------------------------------------


def test_the_cost_of_the_search_is_the_latency(table, file):
    """n_f = αβ·log(microseconds); the budget is in milliseconds."""
    target = 0.9 * table.largest.median
    config = latency_config(file, "budget.mode=soft", "budget.kind=latency", f"budget.target={target}")
    search = open_run(config, file.parent / "run").search
    step = search.make_step(10, Augmentation(padding=0, flip=False), None, ())
    widths = [jnp.float32(width) for width in TINY.largest]
    factor, penalty, cost = step.search_cost(widths)
    milliseconds = MACS(TINY.largest) / PER_MS
    assert float(cost) == pytest.approx(1000 * milliseconds, rel=1e-5)
    assert float(factor) == pytest.approx(0.2 * 0.5 * math.log(1000 * milliseconds), rel=1e-5)
    assert float(penalty) == pytest.approx(10 * (milliseconds / target - 1) ** 2, rel=1e-3)
    logits = [np.linspace(1, 0, len(block.options)) for block in TINY.blocks]
    found = width_space.narrow_to_budget(TINY, logits, 0.7 * milliseconds, search.cost_of("latency"))
    assert MACS(found) / PER_MS <= 0.7 * milliseconds * 1.001 and found != TINY.smallest


def test_narrowing_passes_what_saves_nothing():
    """A measured latency may stand still from one width to the next."""
    steps = {4: 1.0, 8: 2.0, 12: 2.0, 16: 2.0}
    space = width_space.WidthSpace("flat", (width_space.Stage(16, 2, 1, 4),))
    found = width_space.narrow_to_budget(
        space, [np.zeros(4), np.zeros(4)], 3.0, lambda widths: sum(steps[width] for width in widths)
    )
    assert sorted(steps[width] for width in found) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["cost.kind=latency"], "cost.kind='latency' needs cost.table, the file of a latency table"),
        (["cost.table=FILE"], "cost.table='FILE' is for latency, but cost.kind='macs'"),
        (["cost.kind=latency", "cost.table=there.json"], "cost.table: there is no file there.json; rnas describe"),
        (
            ["cost.kind=latency", "cost.table=FILE", "budget.mode=hard", "budget.target=4e6"],
            "cost.kind='latency' and budget.kind='macs': latency is the cost and what the budget limits, or neither. "
            "Set both, with budget.target in milliseconds of one image, which is 4000000.0 now",
        ),
        (
            ["budget.kind=latency", "budget.mode=soft", "budget.target=1"],
            "cost.kind='macs' and budget.kind='latency'",
        ),
        (
            ["cost.kind=latency", "cost.table=FILE", "budget.mode=hard", "budget.kind=latency"],
            "budget.mode='hard' needs a budget.target, in milliseconds",
        ),
        (
            ["cost.kind=latency", "cost.table=FILE", "budget.mode=hard", "budget.kind=latency", "budget.target=40"],
            "budget.target = 40.0 ms lies outside space 'tiny': its smallest network costs {low} ms, its largest "
            "{high}",
        ),
        (
            ["cost.kind=latency", "cost.table=FILE", "space=s1", "conv_bias=False"],
            "was measured at space tiny, conv_bias True, but this run has space s1, conv_bias False",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_both_are_named(flags, message, table, file):
    with pytest.raises(ValueError) as error:
        config = load_config(DIGITS, [f"--config.{flag.replace('FILE', str(file))}" for flag in flags])
        open_run(config, file.parent / "run")
    ends = {"low": f"{table.smallest.median:,}"[:5], "high": f"{table.largest.median:,}"[:5]}
    for part in message.replace("FILE", str(file)).format(**ends).split(" ms, "):
        assert part in str(error.value)


def test_the_table_is_kept_beside_the_run(table, file, tmp_path):
    run = open_run(latency_config(file), tmp_path / "run")
    keep_latency_table(run)
    assert LatencyTable.read(tmp_path / "run" / TABLE) == table
    keep_latency_table(run)
    content = json.loads(file.read_text())
    content["largest"]["median"] *= 2
    file.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=f"is not the table that this run began with: give --config.cost.table=.*{TABLE}"
    ):
        keep_latency_table(run)
    keep_latency_table(open_run(load_config(DIGITS, []), tmp_path / "other"))
    assert not (tmp_path / "other").exists(), "without latency there is nothing to keep"


@pytest.mark.slow
def test_a_search_by_latency_meets_its_budget(table, file, tmp_path):
    target = (table.smallest.median + table.largest.median) / 2
    config = latency_config(
        file, "budget.mode=hard", "budget.kind=latency", f"budget.target={target}", "gamma=0.0", "kl_weight=0.0",
        "search.epochs=2", "data.train_count=320", "adversarial.steps=1", "baselines=()", "comparisons=()",
        "validation.count=0",
    )  # fmt: skip
    run = tmp_path / "run"
    execute(config, run, command="test", until="derive")
    found = open_run(config, run).architecture
    assert table.network_latency(TINY)(found.widths) <= target
    assert (run / TABLE).exists()
    shutil.move(file, tmp_path / "elsewhere.json")
    with pytest.raises(ValueError, match="there is no file"):
        execute(config, run, command="test", until="derive", anew="derive")
    kept = recorded_config(run, [f"--config.cost.table={run / TABLE}"])
    execute(kept, run, command="test", until="derive", anew="derive")
    assert open_run(kept, run).architecture.widths == found.widths


# -- commands and pages ----------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Commands that time nothing: every call takes two milliseconds, a wider network a little longer."""
    monkeypatch.setattr(platform, "prepare", lambda *_: None)
    monkeypatch.setattr("rnas.runs.training_cost.speeds", lambda run: {"student": 1e6, "teacher": 1e9})
    monkeypatch.setattr(block_timing, "time_block", lambda module, shape: ideal(1e6 * (module.features + shape[2])))
    monkeypatch.setattr(block_timing, "time_network", lambda network, shape: ideal(1e6 * sum(network.widths or (0,))))
    monkeypatch.setattr(
        network_timing, "time_networks",
        lambda networks, shape: Latency(
            "cpu", "some processor", 2,
            tuple(NetworkTiming(name, "jax", 1000, batch, Timing(2.0 * batch, 1.5, 2.5, 50))
                  for name in networks for batch in (1, 128)),
            {"jax": "1"},
        ),
    )  # fmt: skip


def test_the_command_prints_and_keeps_what_it_measures(quick, tmp_path, capsys):
    table = tmp_path / "tables" / "device.json"
    argv = ["describe", f"--config={DIGITS}", f"--workdir={tmp_path / 'run'}", "--json"]
    assert main([*argv, "--latency", f"--latency-table={table}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["latency"]["threads"] == 2
    assert found["latency"]["milliseconds"]["largest"]["jax, batch 128"]["median"] == 256.0
    assert {*found["latency"]["milliseconds"]} == {"largest", "smallest", "teacher"}
    assert found["latency_table"]["file"] == str(table) and LatencyTable.read(table).space == "tiny"
    assert not (tmp_path / "run").exists(), "there is no run yet"
    # In the work directory of a run it is kept.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(load_config(DIGITS, []).to_json())
    assert main([*argv[:-1], "--latency"]) == 0
    assert "jax, batch 128" in capsys.readouterr().out
    assert {row.network for row in Latency.read(tmp_path / "run" / FILE).networks} == {"largest", "smallest", "teacher"}


def test_cells_have_no_table(quick, tmp_path, capsys):
    config = str(Path(DIGITS).parents[1] / "robbench" / "digits_search.py")
    argv = ["describe", f"--config={config}", f"--workdir={tmp_path}", f"--latency-table={tmp_path / 'table.json'}"]
    assert main(argv) == 2
    assert "space 'nasbench201' has cells; only spaces of widths have such a table" in capsys.readouterr().err

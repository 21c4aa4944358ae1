"""`written/` holds files as they were before pydantic read them: they are read, and their content is written again."""

import json
from pathlib import Path

import pytest

from rnas.artifacts.architecture import load_architecture
from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.kernel_results import KernelResults
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.run_record import RunRecord
from rnas.artifacts.table_of_runs import TableOfRuns
from rnas.artifacts.table_results import NetworkResult

WRITTEN = Path(__file__).parent / "written"
RECORDS = {
    "attack.json": AttackSummary,
    "evaluation.json": Evaluation,
    "model_scores.json": ModelScores,
    "run.json": RunRecord,
    "ntk.json": KernelResults,
    "ntk_without_best.json": KernelResults,
    "ntk_without_table.json": KernelResults,
    "network_result.json": NetworkResult,
    "network_result_short.json": NetworkResult,
}


def content(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_and_written_again(tmp_path, name):
    record = RECORDS[name].read(WRITTEN / name)
    record.write(tmp_path / name)
    assert content(tmp_path / name) == content(WRITTEN / name)
    assert RECORDS[name].read(tmp_path / name) == record


@pytest.mark.parametrize(
    "name", ["architecture_widths.json", "architecture_cells.json", "architecture_nasbench201.json"]
)
def test_an_architecture_is_read_and_written_again(tmp_path, name):
    former = content(WRITTEN / name)
    load_architecture(WRITTEN / name).save(tmp_path / name, params=former["params"], macs=former["macs"])
    assert content(tmp_path / name) == former


def test_figures_of_a_file_are_where_readers_look_for_them():
    summary, evaluation = AttackSummary.read(WRITTEN / "attack.json"), Evaluation.read(WRITTEN / "evaluation.json")
    assert summary.threat.epsilon == 8 / 255 and summary.rounded.still_fooling == 9 and summary.failed == ["D"]
    assert summary.transfer[0].score.accuracy == 25 / 40 and summary.curve.points[1][0] == 8 / 255
    assert list(evaluation.models) == ["student", "baseline_trades", "teacher"]
    assert list(evaluation.student.attacks) == ["pgd_100", "auto_attack"]
    assert evaluation.student.attacks["pgd_100"].settings["steps"] == 100
    assert KernelResults.read(WRITTEN / "ntk.json").agreement.best.count == 3
    assert KernelResults.read(WRITTEN / "ntk_without_table.json").agreement is None


def test_metrics_are_read(tmp_path):
    first, last = read_rows(WRITTEN)
    assert first.values == {"loss": 1.5, "kl": None} and last.split == "validation"
    assert first.line + last.line == (WRITTEN / "metrics.jsonl").read_text()


def test_a_table_of_runs_is_read_and_written_again():
    table = content(WRITTEN / "table_of_runs.json")
    assert TableOfRuns.from_json("table_of_runs.json", table).to_json() == table


@pytest.mark.parametrize("name", ["attack.json", "evaluation.json", "run.json", "ntk.json"])
def test_keys_that_nobody_knows_are_passed_over(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({**content(WRITTEN / name), "comment": "ours"}))
    assert RECORDS[name].read(tmp_path / name) == RECORDS[name].read(WRITTEN / name)

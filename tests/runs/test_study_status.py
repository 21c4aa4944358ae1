"""How far a study has come, as `rnas status` shows it."""

import json
from pathlib import Path

from rnas.artifacts.run_record import RunRecord, StageRecord
from rnas.config import load_config, record_config
from rnas.main import main
from rnas.runs.stages import NAMES

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"


def test_every_seed_has_its_state(tmp_path, capsys):
    config = load_config(str(DIGITS), ["--config.study.seeds=(0,1,2)"])
    record_config(tmp_path, config)
    complete = {stage: StageRecord("complete", 10.0, 1) for stage in NAMES}
    begun = {"teacher": complete["teacher"], "search": StageRecord("running", 5.0, 1)}
    for seed, stages in enumerate((complete, begun)):
        folder = tmp_path / f"seed_{seed}"
        record_config(folder, config)
        RunRecord("2026-01-01T00:00:00+00:00", "rnas study", {}, "cpu", 1, stages).write(folder / "run.json")
    assert main(["status", f"--workdir={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path),
        "  seed 0  complete, 1:10",  # seven stages: this configuration has no fine-tuning
        "  seed 1  search interrupted, 0:05",
        "  seed 2  not begun",
        "  not compared yet",
    ]
    (tmp_path / "study.json").touch()
    assert main(["status", f"--workdir={tmp_path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] and found["seeds"]["2"] is None and "finetune" not in found["seeds"]["0"]["stages"]

"""What stages have left is missing or damaged: it is made again, or refused with what to do. Stages are stand-ins."""

import json
from pathlib import Path
import shutil

import pytest

from rnas.config import load_config
from rnas.main import main
from rnas.runs import stages

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "configs" / "rnas_cl" / "digits.py"
EVALUATION = ROOT / "tests" / "artifacts" / "written" / "evaluation.json"
LEFT = {  # what each stand-in leaves
    "teacher": ("teacher/teacher.json", "teacher/variables/0/state", "checkpoints/teacher/10/state"),
    "search": ("checkpoints/search/10/state",),
    "derive": ("architecture.json",),
    "train": ("checkpoints/train/8/state", "checkpoints/train/10/state"),
    "finetune": (),
    "baselines": ("checkpoints/baseline_plain/10/state", "architectures/random.json"),
    "evaluate": ("evaluation.json", "evaluation/student.json", "evaluation/student.npz", "attacks/one/attack.json"),
    "report": ("report.html",),
}


class Stages:
    """Stand-ins: each writes its files where they are not there, and notes that it ran."""

    def __init__(self, workdir: Path):
        self.workdir, self.ran, self.content = workdir, [], {}

    def run(self, stage: str) -> None:
        self.ran.append(stage)
        for name in LEFT[stage]:
            path = self.workdir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "evaluation.json":
                shutil.copy(EVALUATION, path)
            elif not path.exists():
                path.write_text(self.content.get(name, f"of {stage}"))

    def execute(self, **arguments) -> list[str]:
        """Runs what is not complete; returns the stages that ran."""
        self.ran.clear()
        config = load_config(str(DIGITS), [])
        report = lambda workdir: self.run("report")  # noqa: E731
        stages.execute(config, self.workdir, command="rnas run", report=report, **arguments)
        return list(self.ran)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A run that is complete."""
    found = Stages(tmp_path / "run")
    for stage in stages.STAGES:
        monkeypatch.setitem(stages.STAGES, stage, lambda run, stage=stage: found.run(stage))
    monkeypatch.setattr(stages, "check_surroundings", lambda run: None)
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    assert found.execute() == list(stages.NAMES)
    return found


def test_a_whole_run_has_nothing_to_do(made, capsys):
    assert made.execute() == []
    assert "complete up to 'report'; nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "ran"),
    [
        ("evaluation.json", ["evaluate", "report"]),
        ("evaluation/student.json", ["evaluate", "report"]),
        ("architecture.json", ["derive"]),
        ("report.html", ["report"]),
        ("teacher/teacher.json", ["teacher"]),
        ("teacher/variables/0/state", ["teacher"]),
    ],
)
def test_what_is_missing_is_made_again(made, capsys, name, ran):
    (made.workdir / name).unlink()
    assert made.execute() == ran
    assert f"{name}: missing. It is made again" in capsys.readouterr().err
    assert (made.workdir / name).exists() and made.execute() == []


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation/student.npz", "architecture.json"])
def test_what_is_damaged_is_kept_aside_and_made_again(made, capsys, name):
    path = made.workdir / name
    before = path.read_bytes()
    path.write_bytes(before[:-1] + b"?")
    made.execute()
    assert f"{name}: not as the stage left it" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert path.with_name(f"{path.name}.damaged").read_bytes() == before[:-1] + b"?"
    assert made.execute() == []


def test_figures_and_outcomes_of_a_model_are_measured_together(made):
    (made.workdir / "evaluation" / "student.npz").unlink()
    assert made.execute() == ["evaluate", "report"]
    assert (made.workdir / "evaluation" / "student.json.damaged").exists()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("checkpoints/train/8/state", "train"),
        ("checkpoints/search/10/state", "search"),
        ("checkpoints/baseline_plain/10/state", "baselines"),
        ("architectures/random.json", "baselines"),
    ],
)
def test_what_would_be_trained_again_is_refused(made, name, stage):
    """Other weights than those that were evaluated must not take their place unseen."""
    (made.workdir / name).unlink()
    with pytest.raises(ValueError, match=f"of stage '{stage}', {name}: missing.*from a copy.*add --from={stage}"):
        made.execute()
    assert made.ran == []


def test_a_teacher_without_checkpoints_is_not_trained_again_unseen(made):
    shutil.rmtree(made.workdir / "checkpoints" / "teacher")
    assert made.execute() == []  # nothing needs them
    (made.workdir / "teacher" / "teacher.json").unlink()
    with pytest.raises(ValueError, match="of stage 'teacher'.*add --from=teacher"):
        made.execute()


def test_another_architecture_than_the_trained_one_is_refused(made):
    (made.workdir / "architecture.json").unlink()
    made.content["architecture.json"] = "another"
    for _ in range(2):  # a second start does not take it for granted
        with pytest.raises(ValueError, match="derived again it is another.*train, finetune, baselines.*--from=train"):
            made.execute()
    assert made.execute(anew="train") == ["derive", "train", "finetune", "baselines", "evaluate", "report"]


def test_a_stage_is_made_anew_with_all_after_it(made, capsys):
    (made.workdir / "checkpoints" / "train" / "10" / "state").write_text("old")
    made.content["checkpoints/train/10/state"] = "new"
    assert made.execute(anew="train") == ["train", "finetune", "baselines", "evaluate", "report"]
    assert "are made anew; what they had left is in" in capsys.readouterr().err
    assert (made.workdir / "checkpoints" / "train" / "10" / "state").read_text() == "new"
    (former,) = (made.workdir / "former").iterdir()
    assert (former / "checkpoints" / "train" / "10" / "state").read_text() == "old"
    assert (former / "attacks" / "one" / "attack.json").exists() and (former / "evaluation.json").exists()
    assert not (former / "architecture.json").exists()
    assert made.execute() == []


def test_a_stopped_start_anew_goes_on_with_the_same_command(made, monkeypatch):
    """What requeues a job gives the same command again."""
    with monkeypatch.context() as patch:
        patch.setitem(stages.STAGES, "baselines", lambda run: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.execute(anew="train")
        assert made.ran == ["train", "finetune"]
    assert made.execute(anew="train") == ["baselines", "evaluate", "report"]
    assert len(list((made.workdir / "former").iterdir())) == 1
    assert made.execute(anew="train") == ["train", "finetune", "baselines", "evaluate", "report"]


def test_a_stage_that_is_none_is_refused(made):
    with pytest.raises(ValueError, match="--from=trian: expected one of .*teacher, search, derive, train"):
        made.execute(anew="trian")


def test_directories_of_earlier_versions_go_on(made):
    """They recorded no checksums: their stages are taken as they are."""
    path = made.workdir / "run.json"
    record = json.loads(path.read_text())
    for entry in record["stages"].values():
        del entry["files"]
    del record["settings"]
    path.write_text(json.dumps(record))
    (made.workdir / "checkpoints" / "train" / "8" / "state").unlink()
    assert made.execute() == []


def test_metrics_that_lack_rows_are_told_of(made, capsys):
    row = {"stage": "train", "split": "train", "step": 4, "epoch": 1.0, "time": 0.0, "loss": 0.5}
    metrics = made.workdir / "metrics.jsonl"
    metrics.write_text(json.dumps(row) + "\n")
    made.execute(anew="train")
    capsys.readouterr()
    made.execute()
    assert "lacks rows" not in capsys.readouterr().err
    for changed in (json.dumps(row | {"loss": 0.6}) + "\n", json.dumps(row)[:20], ""):
        metrics.write_text(changed)
        assert made.execute() == []
        assert "metrics.jsonl lacks rows that stages train had written, or holds others" in capsys.readouterr().err


def test_from_is_an_argument_of_the_commands(made, capsys):
    assert main(["run", f"--config={DIGITS}", f"--workdir={made.workdir}", "--from=never"]) == 2
    assert "--from=never: expected one of the stages of this command" in capsys.readouterr().err

"""What each stage leaves in a work directory: whether that is there and whole, and how it makes room for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import datetime
import hashlib
from pathlib import Path

from rnas.artifacts import corruptions, evaluation, layer_movement, search_history
from rnas.artifacts.architecture import FILE as ARCHITECTURE
from rnas.artifacts.metrics import FILE as METRICS
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.outcomes import FOLDER as OUTCOMES
from rnas.artifacts.run_record import RunRecord, StageRecord

FORMER = "former"  # folder of what has made room
_STEPS = "checkpoints"
_TEACHERS = ("teacher", "natural_teacher")
_PAGE = ("report.html",)

# Patterns of what later stages, or people, need of a stage.
RESULTS: Mapping[str, tuple[str, ...]] = {
    "teacher": tuple(f"{name}/**/*" for name in _TEACHERS),
    "search": (f"{_STEPS}/search/*/**/*", f"{search_history.FOLDER}/search/*"),
    "derive": (ARCHITECTURE,),
    "train": (f"{_STEPS}/train/*/**/*",),
    "finetune": (f"{_STEPS}/finetune/*/**/*",),
    "baselines": (
        f"{_STEPS}/baseline_*/*/**/*", f"{_STEPS}/search_*/*/**/*", f"{search_history.FOLDER}/search_*/*",
        "architectures/*.json",
    ),
    "evaluate": (evaluation.FILE, evaluation.IMAGES, f"{OUTCOMES}/*.json", f"{OUTCOMES}/*.npz"),
    "report": _PAGE,
}  # fmt: skip
# What makes room where a stage is made anew: its results, and what only the stage itself goes on from.
_ALL: Mapping[str, tuple[str, ...]] = {
    "teacher": (*_TEACHERS, *(f"{_STEPS}/{name}" for name in _TEACHERS), layer_movement.FILE),
    "search": (f"{_STEPS}/search", f"{search_history.FOLDER}/search"),
    "derive": (ARCHITECTURE,),
    "train": (f"{_STEPS}/train",),
    "finetune": (f"{_STEPS}/finetune",),
    "baselines": (f"{_STEPS}/baseline_*", f"{_STEPS}/search_*", f"{search_history.FOLDER}/search_*", "architectures"),
    "evaluate": (evaluation.FILE, evaluation.IMAGES, OUTCOMES, "attacks", corruptions.FOLDER),
    "report": (*_PAGE, "report"),
}
REMADE = ("teacher", "derive", "evaluate", "report")  # from what else is there; other stages would train again


def checksums(workdir: Path, stage: str) -> dict[str, str]:
    """Sha256 of every file that a stage has left, by its path, and of its rows in `metrics.jsonl`, as METRICS#name.

    A page may be drawn again at any time: its checksum is empty.
    """
    found = {
        path.relative_to(workdir).as_posix(): "" if stage == "report" else _sha256(path)
        for path in _matching(workdir, RESULTS[stage])
    }
    return {**found, **_of_rows(workdir, stage)}


def damaged(workdir: Path, entry: StageRecord) -> list[str]:
    """Files that a stage has left, and that are missing or not as it left them; none where that was not recorded.

    Rows of metrics are not among them: nothing is built on them.
    """
    return [name for name, recorded in (entry.files or {}).items() if not _is_whole(workdir / name, recorded)]


def damaged_rows(workdir: Path, record: RunRecord) -> list[str]:
    """Stages whose rows in `metrics.jsonl` are not those that were recorded when they were complete."""
    return [
        stage
        for stage, entry in record.stages.items()
        if any(
            (entry.files or {}).get(name, now) != now
            for name, now in {**dict.fromkeys(_rows_in(entry), ""), **_of_rows(workdir, stage)}.items()
        )
    ]


def set_aside(workdir: Path, stage: str, files: Sequence[str]) -> None:
    """Renames damaged files, and what goes with them, to <name>.damaged, so that their stage makes them again."""
    if stage == "teacher":
        files = sorted({Path(name).parts[0] for name in files})
    elif stage == "evaluate":  # a model's figures and outcomes are one thing
        folder = workdir / OUTCOMES
        stems = {Path(name).stem for name in files if Path(name).parent.name == OUTCOMES}
        files = {*files, *(f"{OUTCOMES}/{path.name}" for path in folder.glob("*.[jn]*") if path.stem in stems)}
    for name in files:
        path = workdir / name
        if path.exists():
            aside = path.with_name(f"{path.name}.damaged")
            if aside.exists():
                aside = path.with_name(f"{path.name}.{_now()}.damaged")
            path.rename(aside)


def make_room(workdir: Path, stages: Sequence[str]) -> Path | None:
    """Moves all that some stages have left to a folder of its own, and returns that; None where they left nothing."""
    folder = workdir / FORMER / _now()
    moved = [path for stage in stages for pattern in _ALL[stage] for path in sorted(workdir.glob(pattern))]
    for path in moved:
        target = folder / path.relative_to(workdir)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return folder if moved else None


def _matching(workdir: Path, patterns: Sequence[str]) -> Iterator[Path]:
    for pattern in patterns:
        for path in sorted(workdir.glob(pattern)):
            aside = any(part.endswith((".damaged", ".tmp")) for part in path.relative_to(workdir).parts)
            if path.is_file() and not aside:
                yield path


def _is_whole(path: Path, recorded: str) -> bool:
    if path.name.startswith(f"{METRICS}#"):
        return True
    return path.is_file() and recorded in ("", _sha256(path))


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _of_rows(workdir: Path, stage: str) -> dict[str, str]:
    """Sha256 of the rows of every name that a stage records metrics under."""
    digests: dict[str, hashlib._Hash] = {}
    for row in read_rows(workdir):
        if row.stage in ((stage,) if stage != "teacher" else _TEACHERS) or (
            stage == "baselines" and row.stage.startswith(("baseline_", "search_"))
        ):
            digests.setdefault(f"{METRICS}#{row.stage}", hashlib.sha256()).update(row.line.encode())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _rows_in(entry: StageRecord) -> list[str]:
    return [name for name in entry.files or {} if name.startswith(f"{METRICS}#")]


def _now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")

"""Files of every format, cut short, scrambled and edited: a reader refuses them in words, or reads what is whole."""

from collections.abc import Callable, Iterator
import copy
import io
import json
from pathlib import Path
import random
import time
from typing import Any

import numpy as np
import pytest

from rnas.artifacts.architecture import load_architecture
from rnas.artifacts.attack import AttackSummary, FoolingImages, read_examples
from rnas.artifacts.evaluation import Evaluation, ExampleImages, ModelScores
from rnas.artifacts.failure import Failure
from rnas.artifacts.files import read_json
from rnas.artifacts.image_set import ImageSet
from rnas.artifacts.kernel_results import KernelResults
from rnas.artifacts.layer_movement import LayerMovement
from rnas.artifacts.leases import Lease
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.outcomes import Outcomes
from rnas.artifacts.run_record import RunRecord
from rnas.artifacts.search_history import read_history
from rnas.artifacts.study_results import StudyResults
from rnas.artifacts.table_results import NetworkResult
from rnas.artifacts.teacher_card import TeacherCard
from rnas.config import load_config, record_config, recorded_config
from rnas.evaluation.ledger import Ledger
from rnas.spaces.cell_space import PUBLISHED, Genotype
from rnas.tabular import load_robbench
from rnas.teachers.cache import matching_identity
from rnas.teachers.teacher import SHIPPED
from rnas.training.checkpoints import Checkpoints

WRITTEN = Path(__file__).parent / "written"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CACHE = {"teacher": {"hash": "a"}, "images": {"sha256": "b"}, "maps": {"taps": ["stem"], "size": 8}}
STUDY = {
    "format": 1, "seeds": [0, 1], "images": 10, "dataset": {"name": "digits"}, "epsilons": ["0.1"],
    "training_epsilon": 0.1, "headline": "pgd_100@0.1", "detectable": 0.1, "versions": {"jax": "1"},
    "arms": [
        {"name": "student", "kind": "student", "label": "Student", "params": [1, 1], "macs": [1, None],
         "accuracies": {"clean": [0.5, 0.6]}, "curve": {"0.1": [0.1, 0.2]}},
    ],
    "comparisons": [
        {"arm": "student", "reference": "teacher", "measurement": "clean", "difference": 0.1, "interval": [0.0, 0.2],
         "bootstrap": [0.0, 0.2], "p_value": 0.5, "p_adjusted": 0.6, "same_sign": True, "first_only": 0.1,
         "second_only": 0.0, "images": 10, "seeds": 2, "method": "paired t"},
    ],
}  # fmt: skip
MOVEMENT = {
    "format": 1, "teacher": {"hash": "a"}, "attack": "pgd_20", "epsilon": 0.1, "images": 8, "size": 8,
    "taps": ["stem"], "movement": [0.5],
}  # fmt: skip

IMAGE_SET = {
    "format": 1, "name": "photos", "image_shape": [8, 8, 1], "class_names": ["a", "b/ä"],
    "counts": {"train": [3, 4], "test": [1, 1]}, "mean": [0.5], "std": [0.25], "checksum": "ab",
    "origin": {"source": "photos", "kind": "folder", "notes": ["grey"], "left_out": ["x: no file"], "twice": []},
}  # fmt: skip


ATTACK = json.loads((WRITTEN / "attack.json").read_text())
ATTACK["attacks"][0]["settings"]["step_size"] = "ε/4"  # as attacks are described there
RUN = json.loads((WRITTEN / "run.json").read_text()) | {"settings": {"jax_enable_x64": False}, "anew": "train"}
RUN["stages"]["teacher"]["files"] = {"teacher/teacher.json": "ab"}
SCORES = json.loads((WRITTEN / "model_scores.json").read_text())
SCORES["checkpoint"] = {"stage": "train", "step": 8, "choice": "best", "score": 0.4, "images": 32}


def of_config(path: Path) -> Any:
    config = recorded_config(path.parent)
    record_config(path.parent, config)
    return config


JSON: dict[str, tuple[Any, Callable[[Path], Any]]] = {  # format: a file or its content, its reader
    **{name: (WRITTEN / f"{name}.json", record.read) for name, record in {
        "evaluation": Evaluation, "ntk": KernelResults, "network_result": NetworkResult,
    }.items()},
    "attack": (ATTACK, AttackSummary.read),
    "run": (RUN, RunRecord.read),
    "failure": ({"error": "no memory", "host": "a", "when": "2026-01-01T00:00:00+00:00"}, Failure.read),
    "lease": ({"owner": {"host": "a", "process": 3, "since": "2026-01-01T00:00:00+00:00"}, "token": "t"}, Lease.read),
    "model_scores": (SCORES, ModelScores.read),
    **{f"architecture_{name}": (WRITTEN / f"architecture_{name}.json", load_architecture)
       for name in ("widths", "cells", "nasbench201")},
    "study": (STUDY, StudyResults.read),
    "layer_movement": (MOVEMENT, LayerMovement.read),
    "NAS-RobBench-201_all": (WRITTEN / "table_of_runs.json", lambda path: load_robbench(path, partial=True)),
    "teacher": (SHIPPED / "fashion_mnist" / "teacher.json", TeacherCard.read),
    "image_set": (IMAGE_SET, ImageSet.read),
    "cache": ({"format": 2, **CACHE}, lambda path: matching_identity(CACHE, path.parent)),
    "identity": ({"attack": "fgsm", "seed": 3}, lambda path: Ledger(path.parent, {"attack": "fgsm", "seed": 3})),
    "genotype": (next(iter(PUBLISHED.values())).to_json(),
                 lambda path: Genotype.from_json(read_json(path), str(path))),
    "config": (None, of_config),
}  # fmt: skip

OTHERS = (None, True, -1, 10**30, 1e9, 1.5, "", "x\ud800", [], {}, [[]], {"x": [None]}, [-(10**9)], float("nan"))
RAW = (  # what stands in the place of a whole file
    b"", b"\x00" * 100, b"[" * 200_000, b'{"a":' * 200_000, b"[" * 200_000 + b"]" * 200_000, b"9" * 5000, b"1e999",
    b"-Infinity", b"\xff\xfe", b"[]", b"null", b'"x"', b"3", b"{}", b"[{}]",
)  # fmt: skip


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON document, the first few entries of a list standing for all."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content))[:2]:
            yield (*path, key)
            yield from places(content[key], (*path, key))


def edited(content: Any) -> Iterator[tuple[Any, bytes]]:
    """A document with one value replaced or taken away, with words for what was done."""
    for path in places(content):
        for other in (*OTHERS, ...):
            changed = copy.deepcopy(content)
            inside = changed
            for key in path[:-1]:
                inside = inside[key]
            if other is ...:
                del inside[path[-1]]
            else:
                inside[path[-1]] = other
            yield (path, other), json.dumps(changed).encode()


def cut(whole: bytes) -> Iterator[tuple[Any, bytes]]:
    """A file cut at twenty offsets, and with single bits flipped."""
    chance = random.Random(0)
    for offset in sorted({chance.randrange(len(whole)) for _ in range(20)}):
        yield f"cut at {offset}", whole[:offset]
    for offset in (chance.randrange(len(whole)) for _ in range(20)):
        yield (
            f"flipped at {offset}",
            whole[:offset] + bytes([whole[offset] ^ 1 << chance.randrange(8)]) + whole[offset + 1 :],
        )


def faults(path: Path, read: Callable[[Path], Any], contents: Iterator[tuple[Any, bytes]]) -> list[str]:
    """What a reader does wrong: it fails without the name of the file, or takes long."""
    # Of some formats the folder is what is wrong.
    found, named = [], (str(path), f"{path.parent} holds", f"{path.parents[1]} holds")
    for words, content in contents:
        path.write_bytes(content)
        began = time.monotonic()
        try:
            read(path)
        except (ValueError, OSError) as error:
            if isinstance(error, UnicodeError) or not str(error).startswith(named) or len(str(error)) > 1500:
                found.append(f"{words}: {type(error).__name__}: {error!s:.300}")
        except BaseException as error:
            found.append(f"{words}: {type(error).__name__}: {error!s:.300}")
        if time.monotonic() - began > 5:
            found.append(f"{words}: took {time.monotonic() - began:.0f} s")
    return found


@pytest.mark.parametrize("name", JSON)
def test_a_json_file_is_read_or_refused_by_name(tmp_path, name):
    source, read = JSON[name]
    path = tmp_path / f"{name}.json"
    if name == "config":
        record_config(tmp_path, load_config(str(CONFIGS / "rnas_cl" / "digits.py"), []))
        source = path
    content = json.loads(source.read_text()) if isinstance(source, Path) else source
    whole = json.dumps(content, indent=2).encode()
    path.write_bytes(whole)
    read(path)
    edits = list(edited(content))
    if name == "config":  # thousands, and a configuration is built for each
        edits = random.Random(0).sample(edits, 400)
    said = faults(path, read, iter([*((raw[:20], raw) for raw in RAW), *cut(whole), *edits]))
    assert not said, f"{len(said)}:\n" + "\n".join(said[:200])


EXAMPLES = {"id": np.arange(6), "clean_correct": np.ones(6, bool), "fooled_by": np.array([""] * 5 + ["fgsm"])}
EXAMPLES |= {"label": np.arange(6) % 3, "clean_prediction": np.arange(6) % 3, "adversarial_prediction": np.arange(6)}
EXAMPLES |= {f"distance_{norm}": np.linspace(0, 1, 6, dtype=np.float32) for norm in ("linf", "l2", "l1")}
PICTURES = np.full((6, 2, 2, 1), 0.5, np.float32)
WHOLE = np.arange(6)
ARRAYS: dict[str, tuple[str, dict[str, np.ndarray], Callable[[Path], Any]]] = {  # format: its file, content, reader
    "outcomes": ("a.npz", {"ids": WHOLE, "labels": WHOLE, "clean": WHOLE > 2}, Outcomes.read),
    "examples": ("examples.npz", EXAMPLES, lambda path: read_examples(path.parent)),
    "fooling": ("a.npz", {"row": WHOLE, "images": PICTURES, "clean": PICTURES}, FoolingImages.read),
    "images": (
        "a.npz",
        {"images": PICTURES, "adversarial": PICTURES}
        | dict.fromkeys(("labels", "clean_predictions", "adversarial_predictions"), WHOLE),
        ExampleImages.read,
    ),
    "ledger": (
        "ledger/clean/00000.npz",
        {"rows": WHOLE, "seconds": np.ones(6), "right": WHOLE > 2},
        lambda path: Ledger(path.parents[1], {"attack": "fgsm"}).measured("clean", WHOLE, lambda rows: ()),
    ),
    "history": (
        "search_history/search/00001.npz",
        {"tutors": np.full((2, 3), 1 / 3, np.float32), "width_0": np.full(2, 0.5, np.float32)},
        lambda path: read_history(path.parents[2]),
    ),
}


def other_arrays(arrays: dict[str, np.ndarray]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Arrays of which one is of another type or shape, or missing."""
    for name, array in arrays.items():
        others = {
            "text": np.full(array.shape, "x"),
            "complex": array[..., None].astype(bool) + 1j,
            "floats": np.linspace(-5, 5, array.size).reshape(array.shape),
            "nan": np.full(array.shape, np.nan),
            "negative": np.full(array.shape, -(2**40)),
            "dates": np.zeros(array.shape, "M8[s]"),
            "short": array[:1],
            "none": array[:0],
            "scalar": np.float32(1),
            "deeper": array[None],
            "objects": np.array([None, {}], object),
        }
        for words, other in others.items():
            yield (name, words), {**arrays, name: other}
        yield (name, "missing"), {key: value for key, value in arrays.items() if key != name}


def as_bytes(arrays: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_arrays_is_read_or_refused_by_name(tmp_path, name):
    file, arrays, read = ARRAYS[name]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = as_bytes(arrays)
    path.write_bytes(whole)
    read(path)
    others = ((words, as_bytes(other)) for words, other in other_arrays(arrays))
    said = faults(path, read, iter([*((raw[:20], raw) for raw in RAW), *cut(whole), *others]))
    assert not said, f"{len(said)}:\n" + "\n".join(said[:200])


def test_a_broken_line_of_metrics_is_passed_over(tmp_path):
    whole = (WRITTEN / "metrics.jsonl").read_bytes()
    first, last = read_rows(WRITTEN)
    content = json.loads(whole.splitlines()[0])
    for _, line in (*((raw[:20], raw) for raw in RAW), *edited(content)):
        (tmp_path / "metrics.jsonl").write_bytes(line + b"\n" + whole)
        rows = read_rows(tmp_path)
        assert rows[-2:] == [first, last] and len(rows) <= 3


def test_a_checkpoint_cut_or_flipped_anywhere_is_not_used(tmp_path):
    """Twenty offsets in every file of a step: it comes back as it was, or not at all."""
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(3, {"a": np.arange(500)}, figures={"x": 1.0})
    for file in sorted(path for path in (tmp_path / "c").rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for words, content in cut(whole) if whole else ():
            file.write_bytes(content)
            try:
                with Checkpoints(tmp_path / "c") as checkpoints:
                    restored = checkpoints.restore({"a": np.zeros(500, int)})
            except ValueError as error:
                assert str(tmp_path) in str(error), words
            else:
                assert restored is None or (restored.state["a"] == np.arange(500)).all(), f"{file}, {words}"
                assert restored is None or restored.figures == {"x": 1.0}, f"{file}, {words}"
        file.write_bytes(whole)

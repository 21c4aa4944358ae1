"""`architecture.json`: what is written comes back, and what describes no network is refused by name."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from rnas.artifacts.architecture import NASBench201Architecture, TutorAssignment, WidthArchitecture, load_architecture
from rnas.spaces import width_space
from rnas.spaces.nasbench201 import identify

S3 = width_space.get_space("s3")
WIDTHS = (16,) * 3 + (20,) * 3 + (52,) * 3  # the published ones


def searched() -> WidthArchitecture:
    random = np.random.default_rng(0)
    tutors = random.normal(size=(len(S3.taps), 3)).astype(np.float32)
    names = ("conv1", "block1.layer.0.conv1", "block3")
    return WidthArchitecture(
        space=S3,
        widths=WIDTHS,
        image_shape=(32, 32, 3),
        num_classes=10,
        width_probabilities=[jax.nn.softmax(np.arange(len(block.options))) for block in S3.blocks],
        tutor_assignment=TutorAssignment(
            tutors=tuple(names[j] for j in tutors.argmax(axis=1)),
            teacher_taps=names,
            probabilities=jax.nn.softmax(tutors),
            logits=tutors,
            teacher={"architecture": "wide_resnet_10_1", "hash": "0123"},
        ),
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "architecture.json"
    searched().save(path, params=118_130, macs=5_856_904)
    return path


def test_what_is_saved_comes_back(file):
    saved, found = searched(), load_architecture(file)
    for field in ("space", "widths", "image_shape", "num_classes"):
        assert getattr(found, field) == getattr(saved, field), field
    for field in ("tutors", "teacher_taps", "teacher"):
        assert getattr(found.tutor_assignment, field) == getattr(saved.tutor_assignment, field), field
    for field in ("probabilities", "logits"):
        np.testing.assert_array_equal(
            np.float32(getattr(found.tutor_assignment, field)), getattr(saved.tutor_assignment, field)
        )
    for found_block, saved_block in zip(found.width_probabilities, saved.width_probabilities, strict=True):
        np.testing.assert_array_equal(np.float32(found_block), saved_block)


def test_file_states_counts_and_blocks(file):
    content = json.loads(file.read_text())
    assert (content["format"], content["space"]) == (1, "s3")
    assert (content["params"], content["macs"]) == (118_130, 5_856_904)
    assert content["student_taps"] == list(S3.taps) and len(content["tutors"]) == 28
    blocks = content["blocks"]
    assert [block["width"] for block in blocks] == content["widths"] == list(WIDTHS)
    assert [block["resolution"] for block in blocks] == [16] * 3 + [8] * 3 + [4] * 3
    assert [block["stride"] for block in blocks] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert blocks[3] == {
        "name": "block3", "stage": 2, "width": 20, "options": [32, 28, 24, 20], "stride": 2, "expansion": 6,
        "resolution": 8,
    }  # fmt: skip
    np.testing.assert_allclose(np.sum(content["tutor_probabilities"], axis=1), 1, atol=1e-6)


def test_a_file_written_by_hand_needs_five_entries(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"format": 1, "space": "tiny", "widths": [16, 12, 32, 20], "image_shape": [8, 8, 1], '
                    '"num_classes": 10}')  # fmt: skip
    found = load_architecture(path)
    assert found.widths == (16, 12, 32, 20) and found.tutor_assignment == TutorAssignment()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no architecture at .*none.json; run the search first"):
        load_architecture(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "{", "widths: [16]", b"\xff\xfe"])
def test_what_is_no_json_is_named(tmp_path, text):
    path = tmp_path / "architecture.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match="architecture.json is not readable as JSON"):
        load_architecture(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2, expected 1: a newer version"),
        ({"format": None}, "has no format, expected 1"),
        ({"space": "s4"}, "unknown space 's4'; known spaces: .*s3, s5, s7"),
        ({"space": ["s3"]}, "space: unknown space .*; known spaces: .*s3"),
        ({"widths": [16] * 3}, "space 's3' has 9 blocks, but 3 widths were given"),
        ({"widths": [16] * 3 + [21] * 3 + [52] * 3}, "block3 of space 's3' cannot have width 21; .* 32, 28, 24, 20"),
        ({"widths": 16}, "widths: expected a list, got 16"),
        ({"tutors": ["conv1"]}, "names 1 tutors, but the network has 28 taps"),
        ({"teacher_taps": ["conv1"]}, "tutors that are no teacher taps: block1.layer.0.conv1, block3"),
    ],
)
def test_what_describes_no_network_is_refused(file, changes, message):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(ValueError, match=f"architecture.json .*{message}"):
        load_architecture(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object, got \\[\\]"),
        ({}, "has no format, expected 1"),
        ({"format": 1, "space": "s3"}, "image_shape: expected a value, which is missing; num_classes: .*; widths: "),
        ({"format": 1, "space": "dsara", "channels": 8}, "image_shape: .*; genotype: .* has the keys .*; cells: "),
    ],
)
def test_what_is_missing_is_named(tmp_path, content, message):
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"architecture.json {message}"):
        load_architecture(path)


# -- cells of NAS-Bench-201 --------------------------------------------------------------------------------

CELL = NASBench201Architecture(
    code="324102", channels=8, cells=2, origin={"method": "arnas"}, image_shape=(8, 8, 1), num_classes=10,
    operation_probabilities=np.full((6, 5), 0.2).tolist(),
)  # fmt: skip


def test_a_cell_of_the_table_comes_back(tmp_path):
    path = tmp_path / "architecture.json"
    CELL.save(path, params=1, macs=2)
    assert load_architecture(path) == dataclasses.replace(
        CELL, tutor_assignment=load_architecture(path).tutor_assignment
    )
    content = json.loads(path.read_text())
    assert (content["space"], content["code"], content["id"]) == ("nasbench201", "324102", identify("324102"))
    assert content["student_taps"][:3] == ["stem", "stage1.cell0", "stage1.cell1"] and len(content["student_taps"]) == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": 324102}, "code: expected a text, got 324102"),
        ({"code": "324105"}, "has 5 as digit 6"),
        ({"code": "9930"}, "code is '9930', not six digits"),
        ({"cells": 0}, "cells: expected greater than or equal to 1, got 0"),
        ({"operation_probabilities": [[0.5, 0.5]]}, "expected \\(6, 5\\)"),
        ({"code": None}, "code: expected a text, got None"),
    ],
)
def test_what_is_no_cell_of_the_table_is_refused(tmp_path, change, message):
    path = tmp_path / "architecture.json"
    CELL.save(path, params=1, macs=2)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_architecture(path)

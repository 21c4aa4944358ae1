"""A teacher's directory: what is saved comes back, and anything else is refused."""

import dataclasses
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.artifacts.files import read_arrays, write_arrays
from rnas.evaluation.evaluated_model import evaluated_teacher
from rnas.main import main
from rnas.models import build_model
from rnas.teachers import describe_taps, load_teacher, save_teacher
from rnas.teachers.teacher import SHIPPED, content_hash

SHAPE = (8, 8, 1)
MODEL = build_model("wide_resnet_10_1", num_classes=7, mean=(0.3,), std=(0.4,))


@pytest.fixture(scope="module")
def variables():
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: dict(MODEL.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))))
    return jax.tree.map(lambda leaf: random.uniform(0.05, 0.2, leaf.shape).astype(leaf.dtype), shapes)


@pytest.fixture
def folder(tmp_path, variables):
    path = tmp_path / "teacher"
    origin = {"objective": "pgd_at", "epochs": 3}
    save_teacher(path, MODEL, variables, architecture="wide_resnet_10_1", image_shape=SHAPE, origin=origin)
    return path


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def test_what_is_saved_comes_back(folder, variables):
    teacher = load_teacher(folder)
    assert (teacher.architecture, teacher.num_classes) == ("wide_resnet_10_1", 7)
    assert (teacher.mean, teacher.std) == ((0.3,), (0.4,))
    jax.tree.map(np.testing.assert_array_equal, teacher.variables, variables)
    images = np.random.default_rng(1).random((3, *SHAPE), np.float32)
    logits, out = jax.jit(teacher.apply)(teacher.variables, images)
    expected, _ = jax.jit(lambda v, x: MODEL.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert logits.shape == (3, 7)
    assert {tap.name: (3, tap.height, tap.width, tap.channels) for tap in teacher.taps} == {
        name: value.shape for name, value in out.items()
    }
    assert teacher.tap_names == MODEL.taps


def test_card_says_what_the_teacher_is(folder, variables):
    card = json.loads((folder / "teacher.json").read_text())
    assert card["hash"] == content_hash(variables) and card["image_shape"] == [8, 8, 1]
    assert card["origin"] == {"objective": "pgd_at", "epochs": 3}
    assert card["taps"][0] == {"name": "conv1", "height": 8, "width": 8, "channels": 16}


def test_taps_halve_twice():
    taps = {tap.name: tuple(tap[1:]) for tap in describe_taps(MODEL, (32, 32, 1))}
    sizes = [size for name, size in taps.items() if name.endswith("conv2")]
    assert sizes == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]


def test_hash_is_that_of_names_types_shapes_and_values():
    leaves = {"a": np.arange(3, dtype=np.float32), "b": {"c": np.zeros((2, 2), np.int32)}}
    text = b"['a'] float32 (3,)\n" + leaves["a"].tobytes() + b"['b']['c'] int32 (2, 2)\n" + bytes(16)
    assert content_hash(leaves) == hashlib.sha256(text).hexdigest()
    others = [
        {**leaves, "a": leaves["a"] + np.float32(1e-6)},
        {**leaves, "a": leaves["a"].astype(np.float64)},
        {**leaves, "b": {"c": np.zeros((4, 1), np.int32)}},
        {"a": leaves["a"], "b": {"d": np.zeros((2, 2), np.int32)}},
    ]
    assert len({content_hash(tree) for tree in [leaves, *others]}) == 5


def test_the_same_weights_may_be_many_teachers(folder):
    teacher = load_teacher(folder)
    others = [
        dataclasses.replace(teacher, model=MODEL.clone(mean=(0.31,))),
        dataclasses.replace(teacher, model=MODEL.clone(std=(0.41,))),
        dataclasses.replace(teacher, architecture="wide_resnet_10_1_silu"),
        teacher.restricted((2, 5, 6)),
        teacher.restricted((2, 6, 5)),
    ]
    everyone = [teacher, *others]
    assert len({json.dumps(each.identity) for each in everyone}) == 6
    assert len({evaluated_teacher(each, SHAPE, source="").hash for each in everyone}) == 6
    assert load_teacher(folder).identity == teacher.identity
    hashes = {evaluated_teacher(each, SHAPE, source="").hash for each in (load_teacher(folder), teacher)}
    assert len(hashes) == 1
    assert others[-1].restricted((1, 0)).identity["classes"] == [6, 2]


@pytest.mark.parametrize("exists", [False, True])
def test_a_directory_without_a_card_holds_no_teacher(tmp_path, exists):
    if exists:
        (tmp_path / "teacher" / "variables").mkdir(parents=True)
    with pytest.raises(ValueError, match="no teacher at .*teacher: expected a directory that holds 'teacher.json'"):
        load_teacher(tmp_path / "teacher")


def test_a_card_that_is_no_json_is_named(folder):
    (folder / "teacher.json").write_text('{"architecture": ')
    with pytest.raises(ValueError, match="teacher.json is not readable as JSON"):
        load_teacher(folder)


def test_damaged_weights_are_found_out(folder):
    file = largest_file(folder / "variables")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="every checkpoint in .*teacher/variables is damaged.*from a copy"):
        load_teacher(folder)


def test_missing_weights_are_found_out(folder):
    (folder / "variables").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match="lacks the weights its card names by hash; copy it again"):
        load_teacher(folder)


def test_weights_of_another_teacher_are_found_out(folder, tmp_path, variables):
    other = jax.tree.map(lambda leaf: leaf + 1, variables)
    save_teacher(tmp_path / "b", MODEL, other, architecture="wide_resnet_10_1", image_shape=SHAPE, origin={})
    (folder / "variables").rename(folder / "elsewhere")
    (tmp_path / "b" / "variables").rename(folder / "variables")
    with pytest.raises(ValueError, match="lacks the weights its card names by hash; copy it again"):
        load_teacher(folder)


def test_a_card_of_another_model_is_found_out(folder):
    card = json.loads((folder / "teacher.json").read_text())
    (folder / "teacher.json").write_text(json.dumps({**card, "architecture": "wide_resnet_10_2"}))
    with pytest.raises(ValueError, match="a checkpoint of another model"):
        load_teacher(folder)
    (folder / "teacher.json").write_text(json.dumps({**card, "architecture": "wide_resnet_ten"}))
    with pytest.raises(ValueError, match="no model is named 'wide_resnet_ten'"):
        load_teacher(folder)


def test_half_precision_is_another_teacher_that_comes_back(folder, tmp_path, capsys):
    half = tmp_path / "half"
    assert main(["teacher", "halve", str(folder), f"--output={half}"]) == 0
    whole, small = load_teacher(folder), load_teacher(half)
    assert small.hash in capsys.readouterr().out and small.hash != whole.hash
    assert small.identity == small.halved().identity
    for own, other in zip(jax.tree.leaves(small.variables), jax.tree.leaves(whole.variables), strict=True):
        assert own.dtype == np.float32
        np.testing.assert_allclose(own, other, rtol=2**-11)  # half a unit of ten bits
    assert sum(file.stat().st_size for file in half.rglob("*")) < 0.7 * largest_file(folder).stat().st_size
    assert main(["teacher", "halve", str(folder), f"--output={half}"]) == 2
    damaged = read_arrays(half / "weights.npz")
    write_arrays(half / "weights.npz", dict(list(damaged.items())[1:]))
    with pytest.raises(ValueError, match="lacks the weights its card names by hash"):
        load_teacher(half)


def test_shipped_teachers_are_small_and_load():
    for card in SHIPPED.glob("*/teacher.json"):
        teacher = load_teacher(f"shipped:{card.parent.name}")
        assert teacher.origin["command"].startswith("rnas teacher train --config=configs/teachers/")
        assert sum(file.stat().st_size for file in card.parent.iterdir()) < 3e6


def test_a_teacher_that_is_not_shipped_is_named():
    with pytest.raises(ValueError, match="no teacher 'mine' comes with rnas; there is"):
        load_teacher("shipped:mine")

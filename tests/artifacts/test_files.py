"""Files that are replaced as a whole."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from rnas.artifacts.files import read_arrays, read_json, write_arrays, write_json, write_text


def test_json_comes_back_with_arrays_as_lists(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"n": np.int64(3), "x": jnp.array([0.5, 1.0]), "path": path, "t": (1, None)})
    assert read_json(path) == {"n": 3, "x": [0.5, 1.0], "path": str(path), "t": [1, None]}
    write_json(path, [1])
    assert read_json(path) == [1]
    assert os.listdir(path.parent) == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_former_content(tmp_path, monkeypatch, step):
    path = tmp_path / "a.json"
    write_json(path, {"kept": True})

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left on device; what the file held before is untouched") as e:
            write_json(path, {"kept": False})
    assert e.value.errno == errno.ENOSPC and e.value.filename == str(path)
    assert read_json(path) == {"kept": True}
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_json_has_no_word_for_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_unreadable_json_is_named_with_its_position(tmp_path):
    path = tmp_path / "a.json"
    text = json.dumps({"a": 1, "b": 2}, indent=1)
    path.write_text(text[: text.index("2")])
    with pytest.raises(ValueError, match=r"a\.json .* at line 3, column 7"):
        read_json(path)
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match=r"a\.json .* byte 7"):
        read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "name": np.array(["x", "yz"]),
    "none": np.zeros((0, 2), bool),
}


def test_arrays_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "a.npz"
    write_arrays(path, {"old": np.zeros(3)})
    write_arrays(path, ARRAYS)
    with np.load(path, allow_pickle=False) as file:
        assert file.files == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert file[name].dtype == array.dtype
            np.testing.assert_array_equal(file[name], array)
    assert os.listdir(path.parent) == ["a.npz"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_arrays_half_written_leave_the_former_ones(tmp_path, monkeypatch, step, error):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    before = path.read_bytes()

    def stops(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, stops)
        with pytest.raises(type(error)):
            write_arrays(path, {"a": np.ones(1000)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.npz"]


def test_types_that_numpy_files_do_not_have_become_float32(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"short": jnp.arange(3, dtype=jnp.bfloat16) / 4, "text": np.array(["a"])})
    arrays = read_arrays(path)
    assert arrays["short"].dtype == np.float32 and arrays["short"].tolist() == [0, 0.25, 0.5]
    assert arrays["text"].tolist() == ["a"]
    np.savez(path, short=np.zeros(3, jnp.bfloat16), long=np.zeros(3))
    with pytest.raises(ValueError, match="a.npz cannot be read .short of a type that NumPy does not know"):
        read_arrays(path)

"""Files that are replaced as a whole."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from rnas.files import read_json, write_json, write_text


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

"""Checkpoint files read without PyTorch: what is in them, and what they may not do."""

import json
from pathlib import Path
import pickle
import struct
import sys
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from torch_files import Build, Call, Global, Persistent, View, ordered, pickled, write_archive, write_pt

from rnas.teachers.readers import archive
from rnas.teachers.readers.archive import read_checkpoint

DTYPES = ["f8", "f4", "f2", ml_dtypes.bfloat16, "i8", "i4", "i2", "i1", "u1", "?"]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "checkpoint.pt"


def numbers(shape, dtype="f4", seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)


# -- what is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_type_and_byte_order(file, dtype, order):
    array = np.random.default_rng(0).integers(-100, 100, (3, 4)).astype(dtype)
    write_pt(file, {"a": array}, order=order)
    found = read_checkpoint(file)
    assert found.format == "PyTorch"
    assert found.content["a"].dtype == array.dtype
    np.testing.assert_array_equal(found.content["a"], array)


def test_containers_and_plain_values(file):
    content = {"state": ordered({"w": numbers((2,))}), "epoch": 7, "loss": 0.5, "who": "us", "flags": [True, None, ()]}
    write_pt(file, content)
    found = read_checkpoint(file).content
    np.testing.assert_array_equal(found.pop("state")["w"], numbers((2,)))
    assert found == {"epoch": 7, "loss": 0.5, "who": "us", "flags": [True, None, ()]}


@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_of_numpy_beside_a_state(file, protocol):
    """Pickled by NumPy itself: accuracies and epochs that scripts put beside the state."""
    dtypes = ["f8", "f4", "f2", ">f8", ">i4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
    expected = {dtype: np.array([3.375, -7.0]).astype(dtype)[1 if "i" in dtype else 0] for dtype in dtypes}
    content = {"numbers": expected, "type": np.dtype("f4"), "best": np.float64(0.9375)}
    write_archive(file, {"data.pkl": pickle.dumps(content, protocol)})
    found = read_checkpoint(file).content
    assert found["best"] == 0.9375 and found["numbers"] == expected
    for dtype, number in found["numbers"].items():
        assert type(number) is type(expected[dtype]), dtype


def test_a_state_dict_as_pytorch_writes_it(file):
    """An OrderedDict with an attribute, parameters, sizes and types."""
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (numbers((2, 3)), True, ordered({})))
    size = Call(Global("torch", "Size"), ((2, 3),))
    state = Build(ordered({"w": parameter, "size": size, "dtype": Global("torch", "float16")}), {"_metadata": {"": 1}})
    write_pt(file, state)
    found = read_checkpoint(file).content
    np.testing.assert_array_equal(found["w"], numbers((2, 3)))
    assert found["size"] == (2, 3) and found["dtype"] == "torch.float16"


def test_tensors_may_be_views_of_one_storage(file):
    storage = np.arange(24, dtype=np.float32)
    views = {
        "transposed": View(storage, 4, (3, 2), (1, 5)),
        "rows": View(storage, 2, (2, 3), (8, 1)),
        "expanded": View(storage, 7, (2, 2), (0, 0)),
        "scalar": View(storage, 23, (), ()),
        "empty": View(storage, 0, (0, 5), (5, 1)),
    }
    write_pt(file, views)
    found = read_checkpoint(file).content
    np.testing.assert_array_equal(found["transposed"], [[4, 9], [5, 10], [6, 11]])
    np.testing.assert_array_equal(found["rows"], [[2, 3, 4], [10, 11, 12]])
    np.testing.assert_array_equal(found["expanded"], np.full((2, 2), 7))
    assert found["scalar"] == 23 and found["scalar"].shape == () and found["empty"].shape == (0, 5)
    with pytest.raises(ValueError, match="read-only"):
        found["rows"][0, 0] = 1


@pytest.mark.parametrize("root", ["archive", "", "epoch_7/weights", "code"])
def test_the_folder_inside_may_have_any_name(file, root):
    write_pt(file, {"a": numbers((2,))}, root=root)
    np.testing.assert_array_equal(read_checkpoint(file).content["a"], numbers((2,)))


def test_npz(tmp_path):
    file = tmp_path / "weights.npz"
    np.savez(file, **{"conv1.weight": numbers((2, 3)), "conv1.bias": numbers((2,))})
    found = read_checkpoint(file)
    assert found.format == "npz" and set(found.content) == {"conv1.weight", "conv1.bias"}
    np.testing.assert_array_equal(found.content["conv1.weight"], numbers((2, 3)))


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match="objects.npz holds 'a', which is damaged or no plain array"):
        read_checkpoint(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, \n",
        b"{'descr': 3, 'fortran_order': False, 'shape': {}, }\n",
    ],
)
def test_npz_whose_headers_lie(file, head):
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(8)
    write_archive(file, {"a.npy": member}, root="")
    with pytest.raises(ValueError, match="holds 'a', which is damaged or no plain array"):
        read_checkpoint(file)


def safetensors(table: dict, content: bytes) -> bytes:
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + content


def test_safetensors(file):
    a, b = numbers((2, 3)), np.array([1.5, -2.0], ml_dtypes.bfloat16)
    table = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [4, 28]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    }
    file.write_bytes(safetensors(table, b.tobytes() + a.tobytes()))
    found = read_checkpoint(file)
    assert found.format == "safetensors" and set(found.content) == {"a", "b"}
    np.testing.assert_array_equal(found.content["a"], a)
    np.testing.assert_array_equal(found.content["b"], b)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 28]}, "no readable safetensors file .*offset"),
        ({"dtype": "F32", "shape": [6], "data_offsets": [0, 24000]}, "no readable safetensors file .*offset"),
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 24]}, "no readable safetensors file .*shape"),
        ({"dtype": "F32", "shape": [2**40], "data_offsets": [0, 24]}, "no readable safetensors file .*shape"),
        ({"dtype": "F32", "shape": [0, 2**50, 2**50], "data_offsets": [0, 0]}, "no readable safetensors file"),
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": [-4, 20]}, "no readable safetensors file .*-4"),
        ({"dtype": "F9", "shape": [24], "data_offsets": [0, 24]}, "no readable safetensors file .*F9"),
        ({"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}, "'F8_E4M3' cannot be read"),
        ({"dtype": "F32", "shape": [6]}, "data_offsets"),
    ],
)
def test_safetensors_whose_table_lies(file, entry, message):
    file.write_bytes(safetensors({"a": entry}, bytes(24)))
    with pytest.raises(ValueError, match=message):
        read_checkpoint(file)


def test_safetensors_whose_tensors_share_bytes(file):
    entries = {"a": {"dtype": "U8", "shape": [16], "data_offsets": [8, 24]}}
    entries["b"] = {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}
    file.write_bytes(safetensors(entries, bytes(24)))
    with pytest.raises(ValueError, match="no readable safetensors file .*invalid offset for tensor `a`"):
        read_checkpoint(file)


def test_safetensors_with_a_table_that_has_no_end(file):
    file.write_bytes(struct.pack("<Q", 300_000) + b'{"a":' * 60_000)
    with pytest.raises(ValueError, match="is no readable safetensors file"):
        read_checkpoint(file)


@pytest.mark.parametrize("length", [0x3C20, 0x4B50])
def test_safetensors_whose_length_looks_like_another_format(file, length):
    """It begins with a space and '<', as a web page may, or with 'PK', as an archive does."""
    table = {"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}
    head = json.dumps(table).encode().ljust(length)
    file.write_bytes(struct.pack("<Q", length) + head + np.arange(6, dtype="f4").tobytes())
    np.testing.assert_array_equal(read_checkpoint(file).content["a"], np.arange(6))


def test_safetensors_cut_short(file):
    file.write_bytes(safetensors({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}, bytes(24))[:40])
    with pytest.raises(ValueError, match="no readable safetensors file .* download cut short, here after 40 bytes"):
        read_checkpoint(file)


# -- files that are something else -----------------------------------------------------------------------

MAGIC = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "is a web page, not a checkpoint"),
        (b"\xef\xbb\xbf\r\n  <html>", "is a web page, not a checkpoint"),
        (b"<script>{}</script>", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
        (b"\x1f\x8b\x08 gzip", "is of unknown format; expected a checkpoint of PyTorch, safetensors or NumPy"),
        (b"\x80\x04N.", "is a pickle, but not one of torch.save"),
        (b"\x80\x02" + MAGIC + b"\x80\x02M\xe9\x03.", "in PyTorch's format before version 1.6.*--trust"),
        (b"\x80\x04\x95\x0d" + bytes(7) + MAGIC, "in PyTorch's format before version 1.6.*--trust"),
    ],
)
def test_what_is_no_checkpoint_is_named(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(file)


def test_a_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match="is a directory; expected a checkpoint file"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_named(file, share):
    write_pt(file, {"a": numbers((100, 100))})
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"is a damaged archive .*cut short, here after [\d,]+ bytes. Fetch it again"):
        read_checkpoint(file)


def test_a_flipped_bit_is_found_by_the_archives_checksum(file):
    write_pt(file, {"a": numbers((100, 100))})
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is a damaged archive .*CRC"):
        read_checkpoint(file)


def test_other_archives_are_named(file):
    write_archive(file, {"word/document.xml": b"<a/>"}, root="")
    with pytest.raises(ValueError, match="an archive, but not one of torch.save"):
        read_checkpoint(file)
    for folder in ({"data.pkl/": b""}, {}):
        write_archive(file, folder)
        with pytest.raises(ValueError, match="not one of torch.save: it holds 0 files data.pkl"):
            read_checkpoint(file)


@pytest.mark.parametrize("name", ["constants.pkl", "inner/CONSTANTS.pkl", "code/net.py", "Code/net.py"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_program_is_refused_wherever_it_lies(file, name, trust):
    """PyTorch finds members in another case too, and would run what it finds."""
    write_archive(file, {"inner/data.pkl": pickled(Global("argparse", "Namespace")), name: b""})
    with pytest.raises(ValueError, match="is a TorchScript program"):
        read_checkpoint(file, trust=trust)


def test_members_that_differ_in_case_alone_are_refused(file):
    write_archive(file, {"data.pkl": pickled({}), "DATA.pkl": b""})
    with pytest.raises(ValueError, match="several members named 'archive/data.pkl'"):
        read_checkpoint(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_packed_without_a_bound_are_refused(file, method):
    with zipfile.ZipFile(file, "w", method) as made:
        made.writestr("archive/data.pkl", pickled({}))
    with pytest.raises(ValueError, match="holds 'archive/data.pkl' neither stored nor deflated"):
        read_checkpoint(file)


def test_no_more_is_inflated_than_a_member_declares(file):
    """64 MiB that are said to be 24 bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", pickled({"a": np.arange(6, dtype="f4")}))
        made.writestr("archive/data/0", bytes(2**26))
    content = bytearray(file.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 24)
    file.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="CRC"):
        read_checkpoint(file)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_directory_of_members_that_points_elsewhere_is_damage(file):
    write_pt(file, {"a": numbers((2,))})
    content = bytearray(file.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x05\x06") + 16, 2**31 - 1)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} is a damaged archive"):
        read_checkpoint(file)


def test_an_unknown_byte_order_is_refused(file):
    write_archive(file, {"data.pkl": pickled({}), "byteorder": b"middle"})
    with pytest.raises(ValueError, match="names a byte order b'middle'"):
        read_checkpoint(file)


@pytest.mark.parametrize("name", ["../data.pkl", "/etc/data.pkl", "archive/../../data/0"])
def test_members_that_lead_elsewhere_are_refused(file, name):
    write_archive(file, {"archive/data.pkl": pickled({}), name: b""}, root="")
    with pytest.raises(ValueError, match="holds a member named .*which no checkpoint has"):
        read_checkpoint(file)


def test_an_archive_that_would_fill_the_memory_is_refused(file, monkeypatch):
    write_pt(file, {"a": numbers((100, 100))})
    monkeypatch.setattr(archive, "LARGEST", 30_000)
    with pytest.raises(ValueError, match=r"would unpack to 40,\d+ bytes; at most 30,000 are read"):
        read_checkpoint(file)


# -- pickles that ask for more ---------------------------------------------------------------------------


SCALAR = Global("numpy.core.multiarray", "scalar")


def number_type(name) -> Call:
    return Call(Global("numpy", "dtype"), (name, False, True))


def latin1(text: str) -> Call:
    return Call(Global("_codecs", "encode"), (text, "latin1"))


F4 = number_type("f4")
STATE = (3, "<", None, None, None, -1, -1, 0)


def attacks(marker: Path) -> dict[str, bytes]:
    """Programs each of which would write a file, were it run."""
    code = f"open({str(marker)!r}, 'w').close()"
    short = b"\x8c" + bytes([len(code)]) + code.encode()
    return {
        "builtins.exec": pickled({"w": Call(Global("builtins", "exec"), (code,))}),
        "os.system": pickled(Call(Global("os", "system"), (f"touch {marker}",))),
        "os.popen": f"(Vtouch {marker}\nios\npopen\n.".encode(),
        "posix.system": pickled(Build(Global("posix", "system"), {"a": 1})),
        "builtins.eval": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + short + b"\x85R.",
        "subprocess.Popen": pickled({"optimizer": Call(Global("subprocess", "Popen"), (["touch", str(marker)],))}),
        # A function inside an allowed module, and an allowed name that leads on.
        "torch._utils._rebuild_tensor_v2.__call__": pickled(
            Call(Global("torch._utils", "_rebuild_tensor_v2.__call__"), ())
        ),
        "torch.load": pickled(Call(Global("torch", "load"), ("http://",))),
        "collections.namedtuple": pickled(Call(Global("collections", "namedtuple"), ("a", "b"))),
        "numpy.core.multiarray._reconstruct": pickled(Global("numpy.core.multiarray", "_reconstruct")),
        # In the place of a number, of its type, and of its bytes.
        "posix.popen": pickled(Call(SCALAR, (Call(Global("posix", "popen"), (f"touch {marker}",)), "bytes"))),
        "builtins.open": pickled(Call(Global("numpy", "dtype"), (Call(Global("builtins", "open"), (str(marker),)),))),
        "_codecs.lookup": pickled(Call(SCALAR, (F4, Call(Global("_codecs", "lookup"), ("latin1",))))),
        # NumPy would take the bytes of an object for an address.
        "numpy.dtype(O8)": pickled(Call(SCALAR, (number_type("O8"), latin1("A" * 8)))),
        "numpy.dtype(V8)": pickled(Call(SCALAR, (number_type("V8"), latin1("A" * 8)))),
        "numpy.dtype(f4,O)": pickled(number_type("f4,O")),
    }


@pytest.mark.parametrize("name", attacks(Path("marker")))
def test_a_pickle_that_tries_to_run_code_is_refused_and_runs_nothing(file, tmp_path, name):
    marker = tmp_path / "marker"
    before = set(sys.modules)
    write_archive(file, {"data.pkl": attacks(marker)[name]})
    with pytest.raises(ValueError) as refusal:
        read_checkpoint(file)
    assert f"holds more than tensors: it names '{name}'" in str(refusal.value)
    assert "Nothing of it was run" in str(refusal.value) and "--trust" in str(refusal.value)
    assert not marker.exists()
    assert not {module for module in set(sys.modules) - before if module.startswith(("torch", "subprocess"))}


def test_the_attacks_of_these_tests_would_work(tmp_path):
    """What the reader refuses does write its file when it is run; else the tests above would prove nothing."""
    programs = attacks(tmp_path / "marker")
    for name in ("builtins.exec", "os.system", "builtins.eval"):
        pickle.loads(programs[name])
        assert (tmp_path / "marker").exists(), name
        (tmp_path / "marker").unlink()


TENSOR = Global("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    "program",
    [
        # Attributes set on what the reader hands out would outlive the reading.
        pickled(Build(TENSOR, {"__call__": 1})),
        pickled(Build(TENSOR, (None, {"__call__": 1}))),
        pickled(Build(Global("collections", "OrderedDict"), (None, {"__call__": 1}))),
        pickled(Build(Global("torch", "FloatStorage"), (None, {"removeprefix": 1}))),
        pickled(Call(Global("torch", "FloatStorage"), ())),
        pickled(Call("text", ())),
        pickled(Call(Global("torch", "Size"), (3,))),
        # Tensors that are expanded to more rows than there is time or memory for.
        pickled(Call(Global("torch", "Size"), (numbers((2,)),))),
        pickled(Call(Global("collections", "OrderedDict"), (numbers((2, 2)),))),
        # A number for an object that has room for 32 million others reserved; so many that they take long to count.
        b"\x80\x02}r\x00\x00\x00\x02.",
        b"\x80\x02" + b"N0" * 2**22 + b"N.",
        # A text of four billion words, if one were made of it.
        b"\x80\x02(" + b"X\x01\x00\x00\x00a" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(32)) + b"tQ.",
        pickled(Call(Global("torch._utils", "_rebuild_parameter"), ("text", True, {}))),
        # Numbers that are none: too few bytes, too many, no bytes; a type with fields, with a size of its own.
        pickled(Call(SCALAR, (F4, latin1("abc")))),
        pickled(Call(SCALAR, (F4, latin1("abcdefgh")))),
        pickled(Call(SCALAR, (F4, "abcd"))),
        pickled(Call(SCALAR, ("f4", latin1("abcd")))),
        pickled(Build(F4, (*STATE[:2], None, ("a",), {"a": (F4, 0)}, -1, -1, 0))),
        pickled(Build(F4, (*STATE[:5], 4096, 1, 0))),
        pickled(Build(F4, (None, {"dtype": "text"}))),
        pickled(Call(number_type("f4"), ())),
        pickled(Call(Global("_codecs", "encode"), ("abcd", "idna"))),
        pickled(Call(Global("_codecs", "encode"), ("\u0394", "latin1"))),
        pickled({"a": 1})[:-3],
        b"\x80\x02\x95\xff",
        b"(" * 100 + b"a.",
        b"\x80\x02h\x07.",
        b"\x80\xff.",
        b"",
    ],
)
def test_a_damaged_or_forged_pickle_is_refused(file, program):
    write_archive(file, {"data.pkl": program})
    with pytest.raises(ValueError, match="the pickle in .* is damaged or forged"):
        read_checkpoint(file)
    write_pt(file, ordered({"a": numbers((2,))}))
    np.testing.assert_array_equal(read_checkpoint(file).content["a"], numbers((2,)))


STORAGE = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (View(STORAGE, 0, (2, 3), (4, 1)), "reaches beyond the 6 elements"),
        (View(STORAGE, 6, (1,), (1,)), "reaches beyond the 6 elements"),
        (View(STORAGE, 1, (10**12, 2), (0, 5)), "reaches beyond the 6 elements"),
        (View(STORAGE, -1, (2,), (1,)), "no offset into it"),
        (View(STORAGE, 5, (2,), (-1,)), "shape or strides that are not as many whole numbers"),
        (View(STORAGE, 0, (-2,), (1,)), "shape or strides that are not as many whole numbers"),
        (View(STORAGE, 0, (2, 2), (1,)), "shape or strides that are not as many whole numbers"),
        (Call(TENSOR, (STORAGE.tolist(), 0, (2,), (1,))), "no storage"),
        (Call(TENSOR, (numbers((2, 2)), 0, (2,), (1,))), "no storage"),
        (Call(TENSOR, (numbers((2,)), 0, (2.0,), (1,))), "shape or strides"),
    ],
)
def test_a_tensor_must_lie_inside_its_storage(file, tensor, message):
    write_pt(file, {"a": tensor})
    with pytest.raises(ValueError, match=message):
        read_checkpoint(file)


def test_an_expanded_tensor_takes_no_memory(file):
    write_pt(file, {"a": View(STORAGE, 3, (10**6, 10**6), (0, 0))})
    assert read_checkpoint(file).content["a"].shape == (10**6, 10**6)


@pytest.mark.parametrize(
    ("reference", "members", "message"),
    [
        (("storage", Global("torch", "FloatStorage"), "7", "cpu", 2), {}, "storage '7' is missing"),
        (
            ("storage", Global("torch", "FloatStorage"), "0", "cpu", 3),
            {"data/0": bytes(8)},
            "has 8 bytes, not 3 numbers",
        ),
        (("storage", "float", "0", "cpu", 2), {"data/0": bytes(8)}, "no storage of a dense tensor"),
        (("module", Global("torch", "FloatStorage"), "0", "cpu", 2), {"data/0": bytes(8)}, "no storage of a dense"),
        (("storage", Global("torch", "FloatStorage"), "../data.pkl", "cpu", 2), {}, "is missing"),
    ],
)
def test_a_storage_must_be_there_and_whole(file, reference, members, message):
    program = pickled(Call(TENSOR, (Persistent(reference), 0, (2,), (1,))))
    write_archive(file, {"data.pkl": program, **members})
    with pytest.raises(ValueError, match=message):
        read_checkpoint(file)


def test_a_storage_has_one_type(file):
    kinds = [Global("torch", kind) for kind in ("FloatStorage", "IntStorage")]
    tensors = [Call(TENSOR, (Persistent(("storage", kind, "0", "cpu", 2)), 0, (2,), (1,))) for kind in kinds]
    write_archive(file, {"data.pkl": pickled(tensors), "data/0": bytes(8)})
    with pytest.raises(ValueError, match="storage '0' is read as int32 and as float32"):
        read_checkpoint(file)


def test_a_tensor_whose_sign_is_still_to_be_applied_is_refused(file):
    reference = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 2))
    tensor = Call(TENSOR, (reference, 0, (2,), (1,), False, ordered({}), {"neg": True}))
    write_archive(file, {"data.pkl": pickled({"a": tensor}), "data/0": bytes(8)})
    with pytest.raises(ValueError, match="marked as the negative or conjugate of its numbers; save a clone"):
        read_checkpoint(file)


def test_milestones_of_schedulers_are_read(file):
    write_pt(file, {"milestones": Call(Global("collections", "Counter"), ({75: 1, 90: 1},))})
    assert read_checkpoint(file).content == {"milestones": {75: 1, 90: 1}}


# -- PyTorch's own files ---------------------------------------------------------------------------------


def test_files_of_pytorch_itself(file):
    torch = pytest.importorskip("torch", reason="reads files that PyTorch writes; it is not installed")
    base = torch.arange(24.0).reshape(4, 6)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    content = {
        "state": module.state_dict(),
        "parameter": torch.nn.Parameter(base[1:3, ::2]),
        "transposed": base.T,
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "integers": base.long(),
        "size": base.shape,
        "optimizer": optimiser.state_dict(),
        "best": base.numpy().max(),
    }
    torch.save(content, file)
    found = read_checkpoint(file).content
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(found["state"][name], tensor.numpy())
    np.testing.assert_array_equal(found["parameter"], base.numpy()[1:3, ::2])
    np.testing.assert_array_equal(found["transposed"], base.numpy().T)
    np.testing.assert_array_equal(found["half"], base.numpy().astype(np.float16))
    np.testing.assert_array_equal(found["bfloat16"], base.numpy().astype(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(found["integers"], base.numpy().astype(np.int64))
    assert found["size"] == (4, 6) and found["best"] == 23 and found["optimizer"]["param_groups"][0]["lr"] == 0.1

"""Arrays, IDX files, the archives of CIFAR and parquet, as users have them and as attackers would."""

import gzip
import io
import json
from pathlib import Path
import pickle
import struct
import sys
import tarfile
import types

import numpy as np
from PIL import Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnas.data.importing import import_images
from rnas.data.sources import open_source

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.uint8)
LABELS = np.arange(12) % 3


def read(source):
    """Images, labels and parts of a source, as far as they are arrays."""
    examples = list(source.examples())
    assert len(examples) == source.count
    return (
        np.stack([example.picture for example in examples]),
        [example.label for example in examples],
        [example.part for example in examples],
    )


# -- arrays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels"), ("data", "target")],
)
def test_arrays_are_found_by_the_names_that_people_give_them(tmp_path, names):
    np.savez(tmp_path / "set.npz", **dict(zip(names, (IMAGES, LABELS), strict=True)))
    source = open_source(str(tmp_path / "set.npz"))
    images, labels, parts = read(source)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels == LABELS.tolist() and set(parts) == {"train"} and source.class_names == ("0", "1", "2")


def test_all_parts_of_an_npz_file_are_read(tmp_path):
    arrays = {f"{part}_{what}": array for part in ("train", "val", "test") for what, array in (
        ("images", IMAGES), ("labels", LABELS[:, None]))}  # fmt: skip
    np.savez_compressed(tmp_path / "set.npz", **arrays, class_names=["a/b", "ä", "c"])
    source = open_source(str(tmp_path / "set.npz"))
    images, labels, parts = read(source)
    assert images.shape == (36, 8, 8) and labels == 3 * LABELS.tolist()
    assert parts == ["train"] * 24 + ["test"] * 12 and source.class_names == ("a/b", "ä", "c")


def test_npy_files_are_read_as_a_pair_and_as_a_folder(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(ValueError, match="give the .npy file of their labels after it"):
        open_source(str(tmp_path / "x.npy"))
    for source in (open_source(str(tmp_path / "x.npy"), str(tmp_path / "y.npy")), open_source(str(tmp_path))):
        images, labels, _ = read(source)
        np.testing.assert_array_equal(images, IMAGES)
        assert labels == LABELS.tolist()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (IMAGES.astype(np.float32) / 255, IMAGES),
        (IMAGES.astype(np.float64), IMAGES),
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES > 127, 255 * (IMAGES > 127)),
        (np.stack([IMAGES] * 3, axis=1), np.stack([IMAGES] * 3, axis=-1)),
        (IMAGES[..., None], IMAGES[..., None]),
    ],
    ids=["fractions", "whole floats", "integers", "truth values", "channels first", "one channel"],
)
def test_numbers_become_bytes(tmp_path, given, expected):
    np.savez(tmp_path / "set.npz", images=given, labels=LABELS)
    np.testing.assert_array_equal(read(open_source(str(tmp_path / "set.npz")))[0], expected)


def test_labels_that_are_not_0_to_k_are_renumbered_and_told(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=np.array([10, 2, 7])[LABELS])
    source = open_source(str(tmp_path / "set.npz"))
    assert source.class_names == ("2", "7", "10") and read(source)[1] == np.array([2, 0, 1])[LABELS].tolist()
    assert "The labels 2, 7, 10 are renumbered 0 to 2." in source.notes
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=np.array(["10", "2", "x"])[LABELS])
    source = open_source(str(tmp_path / "set.npz"))
    assert source.class_names == ("2", "10", "x") and read(source)[1] == np.array([1, 0, 2])[LABELS].tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "lacks the labels of the train part"),
        ({"images": IMAGES, "labels": LABELS, "masks": LABELS}, "holds an array 'masks'; expected images and labels"),
        ({"images": IMAGES, "x": IMAGES, "labels": LABELS}, "two arrays of images"),
        ({"dawn_images": IMAGES, "dawn_labels": LABELS}, "has a part 'dawn'"),
        ({"test_images": IMAGES, "test_labels": LABELS}, "expected one for training"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, r"images are \[12, 8\]; expected"),
        ({"images": IMAGES[..., None].repeat(5, -1), "labels": LABELS}, r"images are \[12, 8, 8, 5\]"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "has no images"),
        ({"images": IMAGES, "labels": LABELS[:7]}, r"labels are \[7\]; expected \[12\]"),
        ({"images": IMAGES, "labels": np.eye(3)[LABELS]}, "by argmax"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels are of type float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "has the label -1; expected 0 or more"),
        ({"images": IMAGES, "labels": 0 * LABELS}, "has 1 class; expected two or more"),
        ({"images": IMAGES - 100.0, "labels": LABELS}, "go from -100 to .*: undo whatever has normalised them"),
        ({"images": IMAGES / 255 * 2, "labels": LABELS}, "expected whole numbers in 0 … 255 or fractions"),
        ({"images": IMAGES.astype(int) * 3, "labels": LABELS}, "images of type int64 go from"),
        ({"images": IMAGES // 200, "labels": LABELS}, "from 0 to 1; .*: multiply them by 255"),
        ({"images": np.where(IMAGES > 250, np.nan, 0.5), "labels": LABELS}, "hold NaN"),
        ({"images": IMAGES.astype(str), "labels": LABELS}, "images are of type <U"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS + 1}, "the label 3, which"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b"])}, "expected a text for each label"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b", "A"])}, "two classes 'a' and 'A'"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        open_source(str(tmp_path / "set.npz"))


def test_objects_lies_and_damage_in_npz_files_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, labels=np.array([print, None], object))
    with pytest.raises(ValueError, match="holds Python objects"):
        open_source(str(path))
    np.savez(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    # A header that claims 99 million images, as many digits as before.
    path.write_bytes(whole.replace(b"(12, 8, 8), }      ", b"(99999999, 8, 8), }"))
    with pytest.raises(ValueError, match=r"claims \[99999999, 8, 8\] of uint8|no readable .npz file"):
        open_source(str(path))
    path.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="no readable .npz file"):
        open_source(str(path))
    lying = io.BytesIO()
    np.lib.format.write_array_header_1_0(lying, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8)})
    (tmp_path / "x.npy").write_bytes(lying.getvalue() + b"few")
    np.save(tmp_path / "y.npy", LABELS)
    with pytest.raises(ValueError, match="claims .* and the file has"):
        open_source(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))


# -- IDX -----------------------------------------------------------------------------------------------------


def idx(array: np.ndarray, shape=None) -> bytes:
    shape = shape or array.shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + array.tobytes()


def write_idx(folder: Path, packed=True) -> Path:
    folder.mkdir()
    for part, images, labels in (("train", IMAGES, LABELS), ("t10k", IMAGES[::-1], LABELS[::-1])):
        for what, number, array in (("images", 3, images), ("labels", 1, labels.astype(np.uint8))):
            content = idx(array)
            name = f"{part}-{what}-idx{number}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_packed_or_not(tmp_path, packed):
    source = open_source(str(write_idx(tmp_path / "mnist", packed)))
    images, labels, parts = read(source)
    np.testing.assert_array_equal(images, np.concatenate([IMAGES, IMAGES[::-1]]))
    assert labels == [*LABELS, *LABELS[::-1]] and parts == ["train"] * 12 + ["test"] * 12
    # A published set keeps what is in both of its parts.
    made = import_images(source, tmp_path / "set")
    assert made.counts == {"train": (4, 4, 4), "test": (4, 4, 4)} and not made.origin.left_out
    assert len(made.origin.twice) == 12


def test_a_file_that_is_there_packed_and_unpacked_is_read_once(tmp_path):
    folder = write_idx(tmp_path / "raw")
    for file in list(folder.iterdir()):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.write_bytes(b"not looked at")
    assert open_source(str(folder)).count == 24


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(IMAGES, (13, 8, 8)), r"claims \[13, 8, 8\], 832 bytes, and holds 768"),
        (idx(IMAGES, (11, 8, 8)), r"claims \[11, 8, 8\], 704 bytes, and holds more"),
        (idx(IMAGES, (2**31, 2**31, 8)), "at most 8,589,934,592 are read"),
        (idx(IMAGES, (2**25, 8, 8)), "claims .* and holds 768"),
        (idx(IMAGES)[:9], "is no IDX file of bytes in 3 dimensions"),
        (idx(IMAGES).replace(b"\x08", b"\x0d", 1), "is no IDX file of bytes"),
        (idx(IMAGES.reshape(12, 64)), "is no IDX file of bytes in 3 dimensions"),
    ],
)
def test_idx_files_that_lie_are_refused(tmp_path, content, message):
    folder = write_idx(tmp_path / "mnist")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=message):
        open_source(str(folder))


def test_idx_folders_that_are_unclear_are_refused(tmp_path):
    folder = write_idx(tmp_path / "mnist")
    packed = folder / "train-images-idx3-ubyte.gz"
    content = packed.read_bytes()
    packed.write_bytes(content[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        open_source(str(folder))
    packed.write_bytes(content)
    (folder / "train-images.idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(ValueError, match="remove one of them"):
        open_source(str(folder))
    (folder / "train-images.idx3-ubyte").rename(folder / "emnist-train-images-idx3-ubyte")
    with pytest.raises(ValueError, match="IDX files of 2 sets"):
        open_source(str(folder))
    (folder / "emnist-train-images-idx3-ubyte").unlink()
    packed.unlink()
    with pytest.raises(ValueError, match="lacks the IDX file of the images of the train part"):
        open_source(str(folder))


# -- CIFAR ---------------------------------------------------------------------------------------------------

CIFAR = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)


def planes(images):
    """Rows of 3,072 bytes: red before green before blue."""
    return np.moveaxis(images, -1, 1).reshape(len(images), -1)


def of_python_2(batch: dict) -> bytes:
    """The pickle that Python 2 and its NumPy wrote of a dict of texts, lists and arrays of bytes (protocol 2)."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def encoded(value) -> bytes:
        if isinstance(value, np.ndarray):
            shape = b"(" + b"".join(map(number, value.shape)) + b"t"
            dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR("
            dtype += number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR("
            return made + number(1) + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"
        if isinstance(value, list):
            return b"](" + b"".join(map(encoded, value)) + b"e"
        return number(value) if isinstance(value, int) else text(value)

    items = b"".join(text(key) + encoded(value) for key, value in batch.items())
    return b"\x80\x02}(" + items + b"u."


def cifar_10_python() -> dict[str, bytes]:
    files = {"batches.meta": of_python_2({b"label_names": [b"cat", b"dog", b"ox"]})}
    for name, rows in [
        *((f"data_batch_{i + 1}", slice(2 * i, 2 * i + 2)) for i in range(5)),
        ("test_batch", slice(10, 12)),
    ]:
        batch = {b"batch_label": b"x", b"labels": LABELS[rows].tolist(), b"data": planes(CIFAR[rows])}
        files[name] = of_python_2(batch)
    return files


def cifar_100_python() -> dict[str, bytes]:
    def batch(rows):
        own = {b"coarse_labels": [0] * len(CIFAR[rows]), b"fine_labels": LABELS[rows].tolist()}
        return of_python_2({**own, b"data": planes(CIFAR[rows])})

    meta = of_python_2({b"fine_label_names": [b"cat", b"dog", b"ox"], b"coarse_label_names": [b"animal"]})
    return {"meta": meta, "train": batch(slice(0, 10)), "test": batch(slice(10, 12))}


def cifar_10_binary() -> dict[str, bytes]:
    rows = np.concatenate([LABELS[:, None].astype(np.uint8), planes(CIFAR)], axis=1)
    files = {f"data_batch_{i + 1}.bin": rows[2 * i : 2 * i + 2].tobytes() for i in range(5)}
    return {**files, "test_batch.bin": rows[10:].tobytes(), "batches.meta.txt": b"cat\ndog\nox\n\n"}


def cifar_100_binary() -> dict[str, bytes]:
    fine = LABELS[:, None].astype(np.uint8)
    rows = np.concatenate([0 * fine, fine, planes(CIFAR)], axis=1)
    names = {"fine_label_names.txt": b"cat\ndog\nox\n", "coarse_label_names.txt": b"animal\n"}
    return {"train.bin": rows[:10].tobytes(), "test.bin": rows[10:].tobytes(), **names}


ARCHIVES = {
    "cifar-10-batches-py": cifar_10_python,
    "cifar-100-python": cifar_100_python,
    "cifar-10-batches-bin": cifar_10_binary,
    "cifar-100-binary": cifar_100_binary,
}


def pack(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("folder", ARCHIVES)
def test_archives_of_cifar_are_read_packed_or_not(tmp_path, folder):
    files = ARCHIVES[folder]()
    (tmp_path / "renamed").mkdir()
    for name, content in files.items():
        (tmp_path / "renamed" / name).write_bytes(content)
    for path in (pack(tmp_path / "any.tar.gz", folder, files), tmp_path / "renamed"):
        source = open_source(str(path))
        images, labels, parts = read(source)
        np.testing.assert_array_equal(images, CIFAR)
        assert labels == LABELS.tolist() and parts == ["train"] * 10 + ["test"] * 2
        assert source.class_names == ("cat", "dog", "ox") and source.as_published


def test_pickles_of_python_3_are_read_as_well(tmp_path):
    files = cifar_100_python()
    for name, rows in (("train", slice(0, 10)), ("test", slice(10, 12))):
        files[name] = pickle.dumps({"data": planes(CIFAR[rows]), "fine_labels": LABELS[rows].tolist()}, protocol=3)
    source = open_source(str(pack(tmp_path / "any.tar.gz", "cifar-100-python", files)))
    np.testing.assert_array_equal(read(source)[0], CIFAR)


class _Call:
    def __init__(self, *called):
        self.called = called

    def __reduce__(self):
        return self.called


_RUN = []


def _run(*arguments):
    _RUN.append(arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Call(_run, (1,))), r"it names '.*\._run', which is no array of bytes\); nothing of it was run"),
        (pickle.dumps(_Call(eval, ("_RUN.append(1)",))), "it names 'builtins.eval'"),
        (of_python_2({b"data": planes(CIFAR[:10])})[:-500], "is damaged or forged"),
        (pickle.dumps([1, 2]), "holds a list; expected a dict"),
        (pickle.dumps({b"data": planes(CIFAR[:10]).astype(np.float32)}, protocol=3), "numbers of type 'f4', not bytes"),
        (of_python_2({b"data": planes(CIFAR[:10, :16])}), "holds no images of 3072 bytes"),
        (of_python_2({b"data": planes(CIFAR[:10])}), "holds no labels 'fine_labels'"),
        (of_python_2({b"data": planes(CIFAR[:10]), b"fine_labels": [-1] * 10}), "holds no labels 'fine_labels'"),
        (of_python_2({b"data": planes(CIFAR[:10]), b"fine_labels": [1] * 9}), r"are \[9\]; expected \[10\]"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "numbers objects beyond their count"),
        (b"", "is damaged or forged"),
    ],
)  # fmt: skip
def test_forged_pickles_are_refused_and_not_run(tmp_path, content, message):
    files = {**cifar_100_python(), "train": content}
    with pytest.raises(ValueError, match=message):
        open_source(str(pack(tmp_path / "any.tar.gz", "cifar-100-python", files)))
    assert not _RUN


def test_archives_that_lead_elsewhere_are_refused(tmp_path):
    path = tmp_path / "any.tar.gz"
    for name in ("../outside", "/etc/passwd", "cifar-100-binary/../../x"):
        pack(path, "cifar-100-binary", cifar_100_binary())
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo(name))
        with pytest.raises(ValueError, match="a path that leads out of it"):
            open_source(str(path))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("cifar-100-binary/train.bin")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        with pytest.raises(ValueError, match="a link or a device"):
            open_source(str(path))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rnas.data.sources.cifar.UNPACKED", 100_000)
    path = pack(tmp_path / "any.tar.gz", "cifar-100-binary", {"other": bytes(200_000), **cifar_100_binary()})
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpacks to more than 100,000 bytes"):
        open_source(str(path))


def test_damaged_and_strange_archives_are_refused(tmp_path):
    path = pack(tmp_path / "any.tar.gz", "cifar-100-binary", {**cifar_100_binary(), "train.bin": b"123"})
    with pytest.raises(ValueError, match="has 3 bytes, no multiple of the 3,074 of an image"):
        open_source(str(path))
    whole = pack(path, "cifar-100-binary", cifar_100_binary()).read_bytes()
    path.write_bytes(whole[:3000])
    with pytest.raises(ValueError, match="no readable archive|cut short"):
        open_source(str(path))
    pack(path, "photos", {"a.png": b""})
    with pytest.raises(ValueError, match="is no archive of CIFAR"):
        open_source(str(path))
    files = cifar_100_binary()
    del files["test.bin"]
    with pytest.raises(ValueError, match="lacks test.bin: it is cut short"):
        open_source(str(pack(path, "cifar-100-binary", files)))


# -- parquet -------------------------------------------------------------------------------------------------


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PICTURES = [{"bytes": png(image), "path": f"{row}.png"} for row, image in enumerate(IMAGES)]

OTHERS = [{"bytes": png(255 - image), "path": f"{row}.png"} for row, image in enumerate(IMAGES)]


def write_parquet(path: Path, columns: dict, names=None, feature="label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names is not None:
        features = {"image": {"_type": "Image"}, feature: {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def test_parquet_of_hugging_face_is_read(tmp_path):
    names = ["a/b", "ä", "c"]
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_parquet(
            tmp_path / "set" / "data" / f"{name}.parquet",
            {"image": PICTURES if "train" in name else OTHERS, "label": LABELS.tolist(), "id": LABELS.tolist()}, names,
        )  # fmt: skip
    source = open_source(str(tmp_path / "set"))
    examples = list(source.examples())
    assert source.class_names == tuple(names) and source.count == len(examples) == 36
    assert [example.part for example in examples] == ["train"] * 24 + ["test"] * 12
    assert [example.picture for example in examples] == [each["bytes"] for each in (*PICTURES, *PICTURES, *OTHERS)]
    made = import_images(source, tmp_path / "out")
    assert made.image_shape == (8, 8, 1) and made.class_names == tuple(names)
    assert made.counts == {"train": (8, 8, 8), "test": (4, 4, 4)} and len(made.origin.twice) == 12


def test_parquet_without_words_of_hugging_face_is_read(tmp_path):
    path = write_parquet(
        tmp_path / "any.parquet",
        {"file": [each["bytes"] for each in PICTURES], "kind": np.array(["x", "y", "z"])[LABELS].tolist()},
    )  # fmt: skip
    source = open_source(str(path))
    assert source.class_names == ("x", "y", "z")
    assert [example.label for example in source.examples()] == LABELS.tolist()


def test_a_part_whose_labels_are_kept_back_is_passed_over(tmp_path):
    for part, labels in (("train", LABELS), ("validation", LABELS), ("test", 0 * LABELS - 1)):
        write_parquet(tmp_path / f"{part}.parquet", {"image": PICTURES, "label": labels.tolist()}, ["a", "b", "c"])
    source = open_source(str(tmp_path))
    assert [example.part for example in source.examples()] == ["train"] * 12 + ["test"] * 12
    assert "The test part has no labels (-1) and is passed over." in source.notes


def test_one_of_several_label_columns_must_be_named(tmp_path):
    path = write_parquet(
        tmp_path / "any.parquet", {"img": PICTURES, "fine": LABELS.tolist(), "coarse": (LABELS // 2).tolist()}
    )
    with pytest.raises(ValueError, match="give --label=NAME, one of fine, coarse"):
        open_source(str(path))
    source = open_source(str(path), label="coarse")
    assert source.class_names == ("0", "1")
    assert [example.label for example in source.examples()] == (LABELS // 2).tolist()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"text": ["a"] * 12, "label": LABELS.tolist()}, {}, r"columns text \(string\), label .* images, found 0"),
        ({"image": PICTURES, "mask": PICTURES, "label": LABELS.tolist()}, {}, "images, found 2"),
        ({"image": PICTURES, "score": [0.5] * 12}, {}, "expected one of whole numbers or texts"),
        ({"image": PICTURES, "label": LABELS.tolist()}, {"label": "klass"}, "no labels of that name"),
        ({"image": PICTURES, "label": [None, *LABELS[1:].tolist()]}, {}, "lacks the label of row 0"),
        ({"image": PICTURES, "label": (LABELS - 1).tolist()}, {"names": ["a", "b", "c"]}, "'-1'; expected 0 to 2"),
        ({"image": PICTURES, "label": LABELS.tolist()}, {"names": ["a", "b", "A"]}, "two classes 'a' and 'A'"),
    ],
)  # fmt: skip
def test_other_columns_are_refused(tmp_path, columns, options, message):
    path = write_parquet(tmp_path / "any.parquet", columns, options.get("names"))
    with pytest.raises(ValueError, match=message):
        open_source(str(path), label=options.get("label"))


def test_parquet_files_that_differ_or_are_damaged_are_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", {"image": PICTURES, "label": LABELS.tolist()})
    other = write_parquet(tmp_path / "test.parquet", {"photo": PICTURES, "label": LABELS.tolist()})
    with pytest.raises(ValueError, match="expected the same"):
        open_source(str(tmp_path))
    other.write_bytes(other.read_bytes()[:-30])
    with pytest.raises(ValueError, match="test.parquet is no readable parquet file"):
        open_source(str(tmp_path))


# -- the Hub -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub that holds one set in two configurations, fetched from a folder."""
    for config in ("plain", "cropped"):
        for part in ("train", "test"):
            write_parquet(
                tmp_path / "hub" / config / part / "0000.parquet", {"image": PICTURES, "label": LABELS.tolist()}
            )
    files = [str(path.relative_to(tmp_path / "hub")) for path in sorted((tmp_path / "hub").rglob("*.parquet"))]
    made = types.ModuleType("huggingface_hub")
    made.asked = []

    def list_repo_files(repository, *, repo_type, revision):
        assert (repo_type, revision) == ("dataset", "refs/convert/parquet")
        if repository != "someone/shapes":
            raise RuntimeError(f"404: no {repository}")
        return [".gitattributes", *files]

    def snapshot_download(repository, *, repo_type, revision, allow_patterns):
        made.asked.append((repository, allow_patterns))
        return str(tmp_path / "hub")

    made.list_repo_files, made.snapshot_download = list_repo_files, snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)
    made.files = files
    return made


def test_a_set_of_the_hub_is_fetched_as_parquet(hub):
    source = open_source("hf:someone/shapes/plain")
    assert source.count == 24 and hub.asked == [("someone/shapes", ["plain/*/*.parquet"])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/shapes", "has the configurations cropped, plain; name one: hf:someone/shapes/CONFIG"),
        ("someone/shapes/other", "has the configurations cropped, plain"),
        ("someone/else", "cannot be fetched: 404: no someone/else"),
        ("mnist", "expected hf:OWNER/NAME"),
        ("a/b/../../c", "expected hf:OWNER/NAME"),
    ],
)
def test_sets_that_the_hub_has_not_are_refused(hub, name, message):
    with pytest.raises(ValueError, match=message):
        open_source(f"hf:{name}")


def test_half_a_set_of_the_hub_is_refused(hub):
    hub.files[:] = ["plain/partial-train/0000.parquet"]
    with pytest.raises(ValueError, match="keeps only the beginning"):
        open_source("hf:someone/shapes")


def test_the_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'rnas\[hf\]'"):
        open_source("hf:someone/shapes")

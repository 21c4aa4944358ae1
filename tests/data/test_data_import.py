"""`rnas data import`: pictures in folders become a set, all of it or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
from own_images import SHAPES, draw, draw_folder
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from rnas.artifacts.image_set import FILE, ImageSet
from rnas.data import load_dataset
from rnas.data.importing import import_images
from rnas.data.pictures import look, pixels_of
from rnas.data.sources import open_source
from rnas.main import main


def made_of(source, output, **options) -> ImageSet:
    return import_images(open_source(str(source)), output, **options)


def save(pixels, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def two_classes(tmp_path):
    """Five grey images of 8×8 pixels in each of two classes."""
    for number in range(10):
        save(noise(number, 8, 8), tmp_path / "source" / "ab"[number % 2] / f"{number}.png")
    return tmp_path / "source"


# -- the whole way -------------------------------------------------------------------------------------------


def test_drawn_pictures_become_a_set_that_rnas_and_tfds_read(pictures, own_set):
    dataset = load_dataset("shapes", data_dir=own_set, held_out=30, seed=0)
    assert (dataset.class_names, dataset.image_shape, dataset.num_classes) == (SHAPES, (32, 32, 3), 3)
    assert [np.bincount(part.labels).tolist() for part in (dataset.train, dataset.validation, dataset.test)] == [
        [70] * 3, [10] * 3, [20] * 3,
    ]  # fmt: skip
    seen = []
    for part in ("train", "test"):
        for example in tfds.builder_from_directory(str(own_set)).as_data_source(part):
            name = example["source"].decode()
            shape, number = name.split("/")
            assert example["label"] == SHAPES.index(shape)
            np.testing.assert_array_equal(example["image"], np.asarray(draw(shape, int(number[:3]))))
            seen.append(name)
    assert sorted(seen) == sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png"))


def test_the_record_has_what_a_configuration_wants(own_set):
    made = ImageSet.read(own_set / FILE)
    dataset = load_dataset("shapes", data_dir=own_set, held_out=0, seed=0)
    pixels = dataset.train.images / 255
    np.testing.assert_allclose(made.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(made.std, pixels.std((0, 1, 2)), atol=1e-6)
    assert made.counts == {"train": (80,) * 3, "test": (20,) * 3} and made.class_names == SHAPES
    assert "chosen by seed 0" in " ".join(made.origin.notes) and not made.origin.left_out


def test_the_command_prints_the_set_and_how_to_use_it(two_classes, tmp_path, capsys, monkeypatch):
    output = tmp_path / "Äpfel & Birnen"
    assert main(["data", "import", str(two_classes), f"--output={output}"]) == 0
    said = capsys.readouterr()
    made = ImageSet.read(output / FILE)
    assert made.name == "apfel_birnen" and made.checksum in said.out
    assert "8 training and 2 test images of 8×8 pixels, grey" in said.out and "a: 4 and 1" in said.out
    assert "configs/own_data.py" in said.out and "left" not in said.out
    assert main(["data", "import", str(two_classes), f"--output={output}"]) == 2
    assert "there is something at" in capsys.readouterr().err
    again = tmp_path / "again"
    assert main(["data", "import", str(two_classes), f"--output={again}", "--json", "--split=0.4", "--seed=3"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"] == {"train": [3, 3], "test": [2, 2]} and answer["directory"] == str(again)


def test_the_same_pictures_make_the_same_set(two_classes, tmp_path):
    one, two = (made_of(two_classes, tmp_path / name / "photos") for name in "xy")
    assert one == two
    read = [
        load_dataset("photos", data_dir=tmp_path / name / "photos", held_out=2, seed=0).fingerprint for name in "xy"
    ]
    assert read[0] == read[1]
    assert made_of(two_classes, tmp_path / "other" / "photos", seed=1).checksum != one.checksum


def test_an_import_that_ends_early_leaves_nothing(two_classes, tmp_path):
    def interrupted(items, what, count):
        for number, item in enumerate(items):
            if what == "writing the test part" and number == 1:
                raise KeyboardInterrupt
            yield item

    for number in range(4):
        save(noise(20 + number, 8, 8), two_classes / "ab"[number % 2] / f"more{number}.png")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        made_of(two_classes, tmp_path / "set", share=0.4, track=interrupted)
    assert sorted(tmp_path.iterdir()) == before
    made_of(two_classes, tmp_path / "set")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "set"])


def test_a_command_that_is_ended_says_that_nothing_was_written(two_classes, tmp_path, capsys, monkeypatch):
    def ended(items, what, count):
        for item in items:
            if what == "reading":
                os.kill(os.getpid(), signal.SIGTERM)
            yield item

    monkeypatch.setattr("rnas.cli.data.watched", ended)
    assert main(["data", "import", str(two_classes), f"--output={tmp_path / 'set'}"]) == 75
    assert "stopped; nothing was written to" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_tensorflow_is_not_needed(two_classes, tmp_path):
    package = tmp_path / "installed" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    program = (
        "import sys; from rnas.data.importing import import_images; from rnas.data.sources import open_source; "
        "import_images(open_source(sys.argv[1]), sys.argv[2])"
    )
    path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.run(
        [sys.executable, "-c", program, str(two_classes), str(tmp_path / "set")],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert (tmp_path / "set" / FILE).exists()


# -- parts and classes -----------------------------------------------------------------------------------------


def test_parts_of_a_folder_are_taken_as_they_are(tmp_path):
    folder = tmp_path / "source"
    for number in range(12):
        part = ("Train", "Train", "val", "test")[number % 4]
        save(noise(number, 8, 8), folder / part / ("10", "9")[number // 4 % 2] / f"{number}.png")
    made = made_of(folder, tmp_path / "set")
    # Numbers are in the order of their size, and what is held out by the source joins the training part.
    assert made.class_names == ("9", "10")
    assert made.counts == {"train": (3, 6), "test": (1, 2)}
    assert any("validation part joins" in note for note in made.origin.notes)
    with pytest.raises(ValueError, match="--split=0.3: the source has a test part of its own"):
        made_of(folder, tmp_path / "other", share=0.3)
    shutil.rmtree(folder / "test")
    assert made_of(folder, tmp_path / "two").counts == {"train": (2, 4), "test": (1, 2)}


def test_trains_are_a_class_among_vehicles(tmp_path):
    for number in range(9):
        save(noise(number, 8, 8), tmp_path / "source" / ("bus", "car", "train")[number % 3] / f"{number}.png")
    assert made_of(tmp_path / "source", tmp_path / "set").class_names == ("bus", "car", "train")
    save(noise(9, 8, 8), tmp_path / "source" / "train" / "dog" / "9.png")
    with pytest.raises(ValueError, match="has a part 'bus'; expected train"):
        open_source(str(tmp_path / "source"))


def test_a_share_of_each_class_is_held_out_whatever_its_size(tmp_path):
    for name, count in (("few", 4), ("many", 41)):
        for number in range(count):
            save(noise([len(name), number], 8, 8), tmp_path / "source" / name / f"{number}.png")
    assert made_of(tmp_path / "source", tmp_path / "set").counts == {"train": (3, 33), "test": (1, 8)}
    assert made_of(tmp_path / "source", tmp_path / "most", share=0.9).counts == {"train": (2, 4), "test": (2, 37)}
    for share in (0, 1, -0.5):
        with pytest.raises(ValueError, match="expected a share between 0 and 1"):
            made_of(tmp_path / "source", tmp_path / "none", share=share)


def test_names_of_classes_keep_umlauts_and_spaces(tmp_path):
    for name in ("Äpfel  süß", "50 % grün & <b>"):
        for number in range(3):
            save(noise([len(name), number], 8, 8), tmp_path / "source" / name / f"ü {number}.png")
    made = made_of(tmp_path / "source", tmp_path / "set")
    assert made.class_names == ("50 % grün & <b>", "Äpfel süß")
    assert load_dataset("set", data_dir=tmp_path / "set", held_out=0, seed=0).class_names == made.class_names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a\u0308pfel", "\u00e4pfel"), "two classes 'äpfel' and 'äpfel' that differ only in case"),
        (("Cat", "cat"), "two classes 'Cat' and 'cat' that differ only in case"),
        (("only",), "has 1 class; expected two or more"),
        ((), "holds no folders of classes"),
        (("one", "two\x07"), "has a class 'two.x07': expected 1 to 200 letters"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(tmp_path, names, message):
    (tmp_path / "source").mkdir()
    for place, name in enumerate(names):
        for number in range(3):
            save(noise([place, number], 8, 8), tmp_path / "source" / name / f"{number}.png")
    with pytest.raises(ValueError, match=message):
        made_of(tmp_path / "source", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_class_with_too_few_images_is_named(two_classes, tmp_path):
    save(noise(99, 8, 8), two_classes / "c" / "single.png")
    (two_classes / "empty").mkdir()
    with pytest.raises(ValueError, match=r"fewer than 3 images to train, .*: c \(1\), empty \(0\). Add"):
        made_of(two_classes, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_class_of_the_test_part_alone_is_refused(two_classes, tmp_path):
    folder = tmp_path / "parts"
    shutil.copytree(two_classes, folder / "train")
    shutil.copytree(two_classes, folder / "test")
    (folder / "test" / "c").mkdir()
    with pytest.raises(ValueError, match="test has a class 'c' that the training part has not"):
        made_of(folder, tmp_path / "set")


# -- images ------------------------------------------------------------------------------------------------------


def test_damaged_and_strange_files_are_left_out_and_listed(two_classes, tmp_path):
    (two_classes / "a" / "notes.txt").write_text("no image")
    whole = save(noise(50, 200, 200), tmp_path / "whole.png").read_bytes()
    (two_classes / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (two_classes / "b" / "empty.jpg").write_bytes(b"")
    save(noise(51, 8, 8), two_classes / "b" / "deep" / "down.gif")
    (two_classes / "b" / "a link").symlink_to(two_classes / "a", target_is_directory=True)
    (two_classes / "a" / ".DS_Store").write_bytes(b"x")
    os.mkfifo(two_classes / "b" / "pipe.png")
    (two_classes / "README").write_text("beside the classes")
    made = made_of(two_classes, tmp_path / "set", size=8)
    reasons = dict(line.split(": ", 1) for line in made.origin.left_out)
    assert reasons.keys() == {"a/notes.txt", "a/cut.png", "b/empty.jpg", "b/deep/down.gif", "b/a link", "b/pipe.png"}
    assert reasons["a/notes.txt"] == reasons["b/deep/down.gif"] == "no PNG, JPEG or WebP"
    assert made.counts == {"train": (4, 4), "test": (1, 1)}
    assert any("1 files beside the folders of classes" in note and "README" in note for note in made.origin.notes)


def test_a_decompression_bomb_is_left_out(two_classes, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    save(noise(60, 40, 40), two_classes / "a" / "large.png")
    save(noise(61, 80, 80), two_classes / "a" / "twice.webp", lossless=True)
    made = made_of(two_classes, tmp_path / "set")
    assert made.origin.left_out == ("a/large.png: more than 1,000 pixels", "a/twice.webp: more than 1,000 pixels")


def test_a_training_image_that_equals_a_test_image_is_left_out(tmp_path):
    folder = tmp_path / "source"
    for number in range(8):
        save(noise(number, 8, 8), folder / ("train", "test")[number // 6] / "ab"[number % 2] / f"{number}.png")
    save(noise(6, 8, 8), folder / "train" / "b" / "leaked.png")
    save(noise(2, 8, 8), folder / "train" / "b" / "twice.png")
    made = made_of(folder, tmp_path / "set")
    assert made.origin.left_out == ("train/b/leaked.png: equals test/a/6.png of the test part",)
    assert made.origin.twice == ("train/b/twice.png: equals train/a/2.png, in another class",)
    assert made.counts == {"train": (3, 4), "test": (1, 1)}


def test_only_duplicates_to_train_on_are_refused(tmp_path):
    for name in "ab":
        for number in range(3):
            save(np.full((8, 8), 40 * len(name) + 100 * (name == "b")), tmp_path / "source" / name / f"{number}.png")
    with pytest.raises(ValueError, match="fewer than 2 images that do not equal a test image: a .0., b .0."):
        made_of(tmp_path / "source", tmp_path / "set")


def test_pictures_of_any_size_fill_the_longer_side(tmp_path):
    wide = save(np.full((10, 40, 3), 200), tmp_path / "wide.png")
    pixels = pixels_of(wide, (16, 16, 3))
    assert (pixels[6:10] == 200).all() and not pixels[:6].any() and not pixels[10:].any()
    small = pixels_of(save(np.full((4, 2), 255), tmp_path / "small.png"), (16, 16, 1))
    assert (small[:, 4:12] == 255).all() and not small[:, :4].any() and not small[:, 12:].any()
    same = noise(3, 16, 16, 3)
    np.testing.assert_array_equal(pixels_of(save(same, tmp_path / "same.png"), (16, 16, 3)), same)


def test_sizes_and_colours_are_brought_together_and_told(tmp_path):
    for number in range(6):
        folder = tmp_path / "source" / "ab"[number % 2]
        shape = (20 + number, 30) if number % 3 else (30, 20, 3)
        save(noise(number, *shape), folder / f"{number}.jpg")
    made = made_of(tmp_path / "source", tmp_path / "set")
    assert made.image_shape == (64, 64, 3)
    notes = " ".join(made.origin.notes)
    assert "6 images of 20×30 to 30×25 pixels were resized to 64×64: the longer side fills it" in notes
    assert "4 grey images became RGB" in notes
    assert made_of(tmp_path / "source", tmp_path / "small", size=12).image_shape == (12, 12, 3)
    with pytest.raises(ValueError, match="--size=0: expected 1 to"):
        made_of(tmp_path / "source", tmp_path / "none", size=0)


def test_modes_of_pictures_mean_what_they_show(tmp_path):
    deep = Image.fromarray(np.array([[0, 256 * 77], [256 * 255, 65535]], np.uint16))
    deep.save(tmp_path / "deep.png")
    assert pixels_of(tmp_path / "deep.png", (2, 2, 1))[..., 0].tolist() == [[0, 77], [255, 255]]
    clear = np.full((2, 2, 4), 255, np.uint8)
    clear[0, 0, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert pixels_of(tmp_path / "clear.png", (2, 2, 3))[..., 0].tolist() == [[0, 255], [255, 255]]
    assert not look(tmp_path / "clear.png").grey and look(tmp_path / "deep.png").grey
    Image.fromarray(noise(1, 4, 4) > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "bits.png", (4, 4, 1))[..., 0], 255 * (noise(1, 4, 4) > 127))
    # A camera that was held upright writes its position, not turned pixels.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.repeat([[0], [255]], 4, axis=1).astype(np.uint8)).save(tmp_path / "turned.png", exif=exif)
    assert look(tmp_path / "turned.png")[:2] == (4, 2)
    assert pixels_of(tmp_path / "turned.png", (4, 2, 1))[..., 0].tolist() == [[255, 0]] * 4


# -- reading the set -----------------------------------------------------------------------------------------


def test_another_name_or_a_damaged_set_is_refused(own_set, tmp_path):
    with pytest.raises(ValueError, match="is the set 'shapes', not 'cifar10'"):
        load_dataset("cifar10", data_dir=own_set, held_out=0, seed=0)
    shutil.copytree(own_set, tmp_path / "copy")
    (tmp_path / "copy" / "features.json").write_text("{")
    with pytest.raises(ValueError, match="copy' holds a damaged set"):
        load_dataset("shapes", data_dir=tmp_path / "copy", held_out=0, seed=0)


def test_a_moved_set_is_read_where_it_is(own_set, tmp_path):
    shutil.copytree(own_set, tmp_path / "elsewhere")
    one, two = (
        load_dataset("shapes", data_dir=where, held_out=9, seed=0) for where in (own_set, tmp_path / "elsewhere")
    )
    assert one.fingerprint == two.fingerprint


def test_there_is_no_such_source(tmp_path):
    with pytest.raises(
        ValueError, match="there is no ylecun/mnist. A set of the Hugging Face Hub is named hf:ylecun/mnist"
    ):
        open_source("ylecun/mnist")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="photos.zip is of no kind that is read: unpack it"):
        open_source(str(tmp_path / "photos.zip"))
    draw_folder(tmp_path / "shapes", 1)
    with pytest.raises(ValueError, match="--label=fine: only parquet"):
        open_source(str(tmp_path / "shapes"), label="fine")
    with pytest.raises(ValueError, match="only an .npy file of images takes one of labels"):
        open_source(str(tmp_path / "shapes"), "labels.npy")

"""Accuracy under common corruptions: counted image by image, resumed, computed or of a prepared set."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from rnas.artifacts.corruptions import FILE, OUTCOMES, CorruptionSummary
from rnas.artifacts.outcomes import Outcomes
from rnas.data.corruptions import CORRUPTIONS, PreparedCorruptions, corrupt, types_for
from rnas.data.datasets import Split
from rnas.data.writer import write_set
from rnas.evaluation import measure_corruptions_of_function
from rnas.evaluation.runner import Runner
from rnas.pages import write_corruption_page

SHAPE, COUNT = (8, 8, 3), 24


def by_colour(images):
    """Three classes: the channel that is the brightest on the left half."""
    return 10 * images[:, :, :4].mean((1, 2))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).integers(0, 256, (COUNT, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def labels(images):
    right = images[:, :, :4].mean((1, 2)).argmax(1)
    return np.where(np.arange(COUNT) < 20, right, (right + 1) % 3).astype(np.int32)


def measure(folder, images, labels, **settings):
    return measure_corruptions_of_function(
        by_colour, images / np.float32(255), labels, folder, batch_size=16, **settings
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory, images, labels):
    folder = tmp_path_factory.mktemp("corruptions") / "out"
    return folder, measure(folder, images, labels, seed=7)


def test_every_image_counts_once_under_each(measured, images, labels):
    folder, summary = measured
    predict = jax.jit(lambda batch: by_colour(batch).argmax(1))
    outcomes = Outcomes.read(folder / OUTCOMES)
    for row in summary.rows:
        for severity, score in enumerate(row.severities, 1):
            corrupted = corrupt(images, row.name, severity, seed=7, ids=np.arange(COUNT))
            right = np.asarray(predict(corrupted / np.float32(255))) == labels
            assert score.accuracy == right.mean() and score.count == COUNT
            assert np.array_equal(outcomes.right[f"{row.name}@{severity}"], right)
    assert summary.clean.accuracy == 20 / COUNT
    assert [row.name for row in summary.rows] == list(types_for(SHAPE))
    assert CorruptionSummary.read(folder / FILE) == summary and not (folder / "ledger").exists()


def test_means_are_over_published_types(measured):
    _, summary = measured
    table = {row.name: np.mean([score.accuracy for score in row.severities]) for row in summary.rows}
    published = [name for name, kind in CORRUPTIONS.items() if kind.standing == "published"]
    assert len(published) == 14 and summary.mean == pytest.approx(np.mean([table[name] for name in published]))
    assert summary.mean_with_ours == pytest.approx(np.mean([table[name] for name in [*published, "frost_procedural"]]))
    assert (summary.score.types, summary.score.count, summary.score.source) == (14, COUNT, "computed")


def test_batches_do_not_matter(measured, images, labels, tmp_path):
    _, summary = measured
    again = measure_corruptions_of_function(
        by_colour, images / np.float32(255), labels, tmp_path / "out", batch_size=5, seed=7
    )
    assert again.rows == summary.rows


def test_a_stopped_measurement_goes_on(measured, images, labels, tmp_path, monkeypatch):
    _, summary = measured
    batches, run_batch = [], Runner.run_batch

    def stop(self, *arguments, **named):
        batches.append(1)
        if len(batches) == 60:
            raise RuntimeError("killed")
        return run_batch(self, *arguments, **named)

    monkeypatch.setattr(Runner, "run_batch", stop)
    with pytest.raises(RuntimeError, match="killed"):
        measure(tmp_path / "out", images, labels, seed=7)
    assert not (tmp_path / "out" / FILE).exists()
    assert measure(tmp_path / "out", images, labels, seed=7).rows == summary.rows
    assert len(batches) - 1 == 2 * (1 + 5 * len(summary.rows))  # 16 and 8 images each time, none twice


def test_a_finished_one_is_returned_and_another_refused(measured, images, labels, monkeypatch):
    folder, summary = measured
    monkeypatch.setattr(Runner, "run_batch", None)
    assert measure(folder, images, labels, seed=7) == summary
    with pytest.raises(ValueError, match="another evaluation .*seed: 7 there, 8 now"):
        measure(folder, images, labels, seed=8)


def test_images_that_no_corruption_is_made_for(images, labels, tmp_path):
    for unfit, message in ((images[..., :2], "grey and RGB images"), (images[:, :3], "at least 4 pixels")):
        with pytest.raises(ValueError, match=message):
            measure_corruptions_of_function(
                lambda batch: jnp.zeros((len(batch), 3)), unfit / np.float32(255), labels, tmp_path / "out"
            )
    assert not (tmp_path / "out").exists()


# -- a prepared set --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, images, labels):
    """A folder as TFDS has one of `cifar10_corrupted`: clean images, but for frost of severity 5."""
    folder = tmp_path_factory.mktemp("prepared")
    at = _write(folder, images, labels)
    names = [
        "frost" if kind.standing == "ours" else name for name, kind in CORRUPTIONS.items() if kind.standing != "extra"
    ]
    theirs = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}
    for name in names:
        for severity in range(1, 6):
            shutil.copytree(at, folder / "tiny_corrupted" / f"{theirs.get(name, name)}_{severity}" / "1.0.0")
    brighter = np.minimum(images, 250) + 5
    changed = _write(folder, brighter[..., ::-1], labels)
    target = folder / "tiny_corrupted" / "frost_5" / "1.0.0"
    shutil.rmtree(target)
    changed.rename(target)
    shutil.rmtree(at, ignore_errors=True)
    return folder


def _write(folder, images, labels):
    feature = tfds.features.Tensor(shape=SHAPE, dtype=np.uint8)
    examples = ((row, {"image": images[row], "label": int(labels[row])}) for row in range(COUNT))
    at = folder / "tiny_corrupted" / "1.0.0"
    shutil.rmtree(at, ignore_errors=True)
    return write_set(
        folder, "tiny_corrupted", version="1.0.0", description="a test",
        features={"image": feature, "label": tfds.features.ClassLabel(num_classes=3)}, parts={"test": examples},
    )  # fmt: skip


def test_published_images_are_read(prepared, images, labels, tmp_path):
    found = PreparedCorruptions("tiny_corrupted", prepared)
    assert len(found.types) == 15 and found.types["frost"].standing == "published"
    summary = measure(tmp_path / "out", images, labels, prepared=found)
    assert summary.source == "tiny_corrupted" and summary.score.types == 15 and not summary.has_ours
    assert summary.mean == summary.mean_with_ours
    rows = {row.name: [score.accuracy for score in row.severities] for row in summary.rows}
    assert rows["glass_blur"] == rows["fog"] == [20 / COUNT] * 5
    assert rows["frost"][:4] == [20 / COUNT] * 4 and rows["frost"][4] < 0.7


def test_a_set_that_is_not_all_there_or_of_other_images(prepared, images, labels, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(prepared, part)
    shutil.rmtree(part / "tiny_corrupted" / "elastic_3")
    with pytest.raises(ValueError, match="no prepared 'tiny_corrupted/elastic_3'"):
        PreparedCorruptions("tiny_corrupted", part)
    small = Split(images[:, :6], labels, np.arange(COUNT))
    with pytest.raises(ValueError, match=r"tiny_corrupted has images of \(8, 8, 3\) .* takes images of \(6, 8, 3\)"):
        measure(tmp_path / "out", small.images, labels, prepared=PreparedCorruptions("tiny_corrupted", prepared))


# -- its page --------------------------------------------------------------------------------------------


def test_the_page_shows_types_severities_and_which_frost(measured, tmp_path, read_page):
    folder, summary = measured
    shutil.copytree(folder, tmp_path / "out")
    page = read_page(write_corruption_page(tmp_path / "out"))
    said = page.said()
    assert "Frost is ours." in said and "over the 14 other published types" in said
    rows = {row[0].strip(): row for row in page.rows if row}
    fog = next(row for row in summary.rows if row.name == "fog")
    figures = [f"{100 * score.accuracy:.1f}" for score in fog.severities]
    assert [cell.split()[0] for cell in rows["Fog"][3:8]] == figures
    (alt,) = [image["alt"] for image in page.all("img")]
    assert f"Fog {100 * fog.mean:.1f}" in alt
    with pytest.raises(ValueError, match="no finished measurement"):
        write_corruption_page(tmp_path)


def test_the_file_names_what_is_wrong(measured, tmp_path):
    folder, _ = measured
    content = json.loads((folder / FILE).read_text())
    content["rows"][0]["severities"].pop()
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"rows\[0\].*severities are 4, expected 5.*Measure again"):
        CorruptionSummary.read(tmp_path / FILE)

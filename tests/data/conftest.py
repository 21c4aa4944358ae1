"""Small TFDS sets, prepared without TensorFlow and without network."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from rnas.data.digits import prepare_digits


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds_digits")
    prepare_digits(folder)
    return folder


class Pictures(tfds.core.GeneratorBasedBuilder):
    """PNG files of two sizes in three classes; the test part has no labels, as in ImageNet."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["red", "green", "blue"]),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(30, labelled=True),
            "validation": self._generate_examples(11, labelled=True),
            "test": self._generate_examples(3, labelled=False),
        }

    def _generate_examples(self, count, labelled):
        for number in range(count):
            # The class is the channel that is lit, the number of the image its brightness; in the next
            # channel a ramp shows the crop.
            pixels = np.zeros((24 + number % 2, 20 + number % 2, 3), np.uint8)
            pixels[:, :, number % 3] = 100 + number
            pixels[:, :, (number + 1) % 3] = 4 * np.arange(pixels.shape[1])
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            yield number, {"image": file.getvalue(), "label": number % 3 if labelled else -1}


@pytest.fixture(scope="session")
def pictures_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds_pictures")
    builder = Pictures(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare(download_dir=str(folder / "downloads"))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing of the user's cache is read or written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

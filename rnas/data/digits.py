"""The handwritten digits of scikit-learn, which come with rnas, as a TFDS dataset: 8×8 images, nothing to download.

1,437 train and 360 test images, 36 of each class, split once and for all. Pixels, 0 to 16 in scikit-learn, become bytes
0 to 255. `id` is the row in scikit-learn's arrays. Images are a plain tensor.
"""

from collections.abc import Iterator
from pathlib import Path
import stat

import filelock
import numpy as np
import tensorflow_datasets as tfds

from rnas.artifacts.files import read_arrays
from rnas.data.balance import balanced_rows
from rnas.data.writer import INFO, write_set

SHIPPED = Path(__file__).with_name("shipped") / "digits.npz"  # its source and licence are beside it
VERSION = "1.0.0"
_TEST_PER_CLASS = 36  # a fifth: 360 of 1,797 images
_SPLIT_SEED = 0


def _parts() -> dict[str, Iterator[tuple[int, dict]]]:
    source = read_arrays(SHIPPED, ("images", "labels"))
    labels = source["labels"]
    test = balanced_rows(labels, 10 * _TEST_PER_CLASS, num_classes=10, seed=_SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    images = np.round(source["images"] * (255 / 16)).astype(np.uint8)[..., None]

    def examples(rows: np.ndarray) -> Iterator[tuple[int, dict]]:
        for row in rows.tolist():
            yield row, {"id": row, "image": images[row], "label": int(labels[row])}

    return {"train": examples(train), "test": examples(test)}


def prepare_digits(data_dir: str | Path) -> None:
    """Writes `digits` under `data_dir` as array_record, unless it is there. Safe to call from many processes.

    Raises ValueError if `data_dir` cannot be written or is marked read-only.
    """
    folder = Path(data_dir).expanduser()
    if (folder / "digits" / VERSION / INFO).exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The mode is read because the system lets root write whatever the mode.
        if not folder.stat().st_mode & stat.S_IWUSR:
            raise PermissionError("the folder is read-only")
        with filelock.FileLock(folder / ".digits.lock"):
            write_set(
                folder,
                "digits",
                version=VERSION,
                description="Handwritten digits of scikit-learn: 1,797 grey images of 8×8 pixels in 10 classes.",
                homepage="https://archive.ics.uci.edu/dataset/80",
                features={
                    "id": np.int64,
                    "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                },
                parts=_parts(),
            )
    except OSError as error:
        raise ValueError(
            f"data_dir={str(data_dir)!r}: the dataset 'digits' is not there and cannot be written there "
            f"({error}); give a folder that can be written, or none to use the cache folder of the user"
        ) from error

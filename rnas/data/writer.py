"""Sets written in TFDS's array_record format, as TFDS itself prepares them; no TensorFlow is needed."""

from collections.abc import Iterable, Mapping
import contextlib
import io
from pathlib import Path
import tempfile
from typing import Any

import tensorflow_datasets as tfds

INFO = "dataset_info.json"  # of TFDS, in the folder of a set: the mark of one that is there
Keyed = tuple[int, Mapping[str, Any]]  # a number of its own in its part, on which alone its place depends; an example


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder made of values; TFDS wants a class for each set."""

    def __init__(self, *, name: str, version: str, parts: Mapping[str, Iterable[Keyed]], info: dict, **where: Any):
        self.name, self.VERSION, self.RELEASE_NOTES = name, tfds.core.Version(version), {version: "First release."}
        self._parts, self._about = parts, info
        super().__init__(version=version, **where)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, supervised_keys=("image", "label"), **self._about)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {name: self._generate_examples(part) for name, part in self._parts.items()}

    def _generate_examples(self, part: Iterable[Keyed]):
        yield from part


def write_set(
    data_dir: str | Path,
    name: str,
    *,
    version: str,
    description: str,
    features: Mapping[str, Any],
    parts: Mapping[str, Iterable[Keyed]],
    homepage: str = "",
) -> Path:
    """Writes a set to `data_dir`/`name`/`version` and returns that folder; nothing is printed.

    Args:
      data_dir: a TFDS folder, which exists.
      name: in letters, digits and underscores.
      features: of an example, by name; `image` and `label` are among them. Images are PNG bytes or a plain tensor:
        TFDS would encode pixels by TensorFlow.
      parts: name → its examples. The order of the records depends on the numbers of the examples alone.

    Raises OSError where the folder cannot be written.
    """
    info = dict(description=description, homepage=homepage, features=tfds.features.FeaturesDict(dict(features)))
    tfds.disable_progress_bar()
    # TFDS reports on standard output, which belongs to the caller.
    with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
        builder = _Builder(
            name=name, version=version, parts=parts, info=info, data_dir=str(data_dir), file_format="array_record"
        )
        builder.download_and_prepare(download_dir=downloads)
    return Path(data_dir) / name / version

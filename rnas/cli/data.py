"""`rnas data`: makes a set of images of one's own."""

import argparse
from collections.abc import Iterable, Iterator
import json
import shlex
from typing import TYPE_CHECKING

from rnas.cli.arguments import add_shared
from rnas.training.messages import program, tell

if TYPE_CHECKING:
    from rnas.artifacts.image_set import ImageSet

SOURCES = """\
SOURCE is one of
  a folder with one folder a class, of PNG, JPEG or WebP files, or with train/ and test/ above such folders
  an .npz file with images and labels, or with train_images, train_labels, test_images and test_labels
  an .npy file of images and, after it, one of labels; or a folder of .npy files named like the arrays above
  a parquet file, or a folder of them, with a column of images and one of labels
  hf:OWNER/NAME, a set of the Hugging Face Hub (pip install 'rnas[hf]')
  cifar-10-python.tar.gz and the three archives like it, or the folder that one of them holds
  a folder of IDX files, as of MNIST and Fashion-MNIST, perhaps with .gz
"""
SHOWN = 10  # images that are named, of those left out and of those that are there twice
EXAMPLE = "import photos --output=data/photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    help = "make a set of pictures, arrays or archives"
    made = actions.add_parser(
        "import", help=help, description=f"{help.capitalize()}.", epilog=SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = made.add_argument
    add("source", metavar="SOURCE", help="see below")
    add("labels", metavar="LABELS", nargs="?", help="the .npy file of the labels, after one of images")
    add("--output", required=True, metavar="DIR", help="the folder to make")
    words = "pixels a side; default: as they are, where all have one size of at most 64, else 64"
    add("--size", type=int, metavar="N", help=words)
    add("--split", type=float, metavar="SHARE", help="of each class that becomes the test part; default: 0.2")
    add("--seed", type=int, default=0, metavar="N", help="of that choice; default: 0")
    add("--label", metavar="COLUMN", help="the labels among several columns of parquet files")
    add_shared(made, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Imports images and prints what the set is; raises ValueError as `rnas.data.importing.import_images`."""
    from rnas.data.importing import import_images
    from rnas.data.sources import open_source
    from rnas.training.interruption import Interrupted, interruptible

    given = shlex.join(filter(None, [arguments.source, arguments.labels]))
    try:
        with interruptible():
            made = import_images(
                open_source(arguments.source, arguments.labels, label=arguments.label), arguments.output, given=given,
                size=arguments.size, share=arguments.split, seed=arguments.seed, track=watched,
            )  # fmt: skip
    except Interrupted as stop:
        stop.args = (f"stopped; nothing was written to {arguments.output}.",)
        raise
    if arguments.json:
        print(json.dumps({"directory": arguments.output, **made.to_json()}))
    else:
        tell(as_text(made, arguments.output))
    return 0


def watched(items: Iterable, what: str, count: int) -> Iterator:
    """The same items, while standard error shows how far they have come and how long the rest will take."""
    from rnas.training.progress import Progress

    with Progress(what, count, unit="image") as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(done)


def as_text(made: "ImageSet", output: str) -> str:
    """What a set is, what was done to its images, and how to use it."""
    height, width, channels = made.image_shape
    kind = {1: "grey", 3: "RGB"}[channels]
    train, test = (sum(made.counts[part]) for part in ("train", "test"))
    lines = [
        f"{output}: set {made.name!r}, {train:,} training and {test:,} test images of {width}×{height} pixels, {kind}",
        f"{len(made.class_names)} classes (training and test images):",
    ]
    rows = list(zip(made.class_names, made.counts["train"], made.counts["test"], strict=True))
    lines += [f"  {name}: {one:,} and {two:,}" for name, one, two in rows[:20]]
    lines += [f"  and {len(rows) - 20} more"] * (len(rows) > 20)
    lines += made.origin.notes
    for what, names in (("left out", made.origin.left_out), ("there twice, and kept", made.origin.twice)):
        if names:
            more = f", the first {SHOWN}" if len(names) > SHOWN else ""
            lines += [f"{len(names):,} images are {what}{more}:", *(f"  {name}" for name in names[:SHOWN])]
    mean, std = (tuple(round(each, 4) for each in values) for values in (made.mean, made.std))
    lines.append(f"mean {mean}, standard deviation {std}; SHA-256 {made.checksum}")
    use = shlex.quote(f"--config.data.dir={output}")
    lines += ["To see what a run costs, and to run it:"]
    lines += [f"  {program()} {verb} --config=configs/own_data.py {use}" for verb in ("describe", "run")]
    return "\n".join(lines)

"""`rnas teacher import` and `rnas teacher check`: what they take on the command line, and what they do."""

import argparse
import json
from pathlib import Path
import sys
import textwrap
import warnings

from rnas.models.registry import FORMS, SUFFIXES
from rnas.teachers.normalization import NAMED
from rnas.teachers.registry import PUBLISHED
from rnas.teachers.teacher import Teacher

HOW_TO_EXPORT = """\
Tensors and plain containers in PyTorch's zip format (1.6 and later), safetensors and .npz are read without PyTorch, and
nothing in them is run. Older files, and those with objects of other packages, need PyTorch and --trust; or they can be
brought into that form where PyTorch is installed:

  import torch
  content = torch.load("checkpoint.pt", map_location="cpu", weights_only=False)  # runs whatever the file contains
  state = content["state_dict"]  # wherever the mapping of names to tensors is
  torch.save({name: tensor for name, tensor in state.items() if torch.is_tensor(tensor)}, "plain.pt")
"""


def add_actions(actions: argparse._SubParsersAction) -> None:
    """Adds `import` and `check` to the actions of `rnas teacher`."""
    made = actions.add_parser(
        "import",
        help="make a teacher directory of a published checkpoint",
        description="Makes a teacher directory of a checkpoint of PyTorch, safetensors or NumPy.",
        epilog="\n".join(
            [
                HOW_TO_EXPORT,
                textwrap.fill(f"architectures: {', '.join(FORMS)}, with {'; '.join(SUFFIXES)}", 118),
                textwrap.fill(f"normalisations: {', '.join(NAMED)}", 118),
                "published:",
                *(f"  {key}" for key in PUBLISHED),
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("file", metavar="FILE")
    add("--output", required=True, metavar="DIR", help="the teacher directory to make")
    add("--architecture", metavar="NAME", help="of the network; default: what the tensors say, where they do")
    add(
        "--normalization",
        metavar="NAME|MEANS/STDS",
        help="inside the model, such as none, cifar10 or 0.5,0.5,0.5/0.2,0.2,0.2; default: what the file says",
    )
    add("--published", metavar="NAME", help="in RobustBench, which says architecture and normalisation")
    add("--entry", metavar="KEY", help="where in the file the state is; default: the usual places")
    add("--image-size", type=int, metavar="N", help="pixels a side; default: 32, for ImageNet 224")
    add("--trust", action="store_true", help="let PyTorch read what is refused otherwise: old formats, foreign classes")
    made = actions.add_parser(
        "check",
        help="clean and PGD accuracy of a teacher, and what looks wrong",
        description="Clean and PGD accuracy of a teacher on the first test images, and what looks wrong.",
    )
    add = made.add_argument
    add("directory", metavar="DIR")
    add("--dataset", required=True, metavar="NAME", help="a TFDS set")
    add("--data-dir", metavar="DIR", help="where that set is")
    add("--count", type=int, default=200, metavar="N", help="the first N test images; default: 200")
    add("--epsilon", metavar="RADIUS", help="L∞, in pixel units; default: the published one, else 8/255")
    add("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    """Does what `rnas teacher import` or `rnas teacher check` asks for, and prints the outcome.

    Raises:
      ValueError: see `import_torch` and `check_teacher`; or there is something at the output directory already.
    """
    print({"import": import_file, "check": check_directory}[arguments.action](arguments))


def import_file(arguments: argparse.Namespace) -> str:
    """Makes a teacher directory of a file; returns what is to be said of it."""
    from rnas.teachers.importing import import_torch

    output = Path(arguments.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"there is something at {output} already; name another --output, or remove it.")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(f"rnas: WARNING: {message}", file=sys.stderr)
        teacher = import_torch(
            arguments.file,
            arguments.architecture,
            arguments.normalization,
            published=arguments.published,
            entry=arguments.entry,
            image_size=arguments.image_size,
            trust=arguments.trust,
        )
    teacher.save(output)
    return "\n".join([*_report(teacher), f"written to {output}"])


def check_directory(arguments: argparse.Namespace) -> str:
    """Looks at a teacher directory; returns what is to be said of it, as JSON if that was asked for."""
    from rnas.evaluation.teacher_check import as_text, check_teacher

    result = check_teacher(
        arguments.directory,
        arguments.dataset,
        data_dir=arguments.data_dir,
        count=arguments.count,
        epsilon=arguments.epsilon,
    )
    return json.dumps(result) if arguments.json else as_text(result)


def _report(teacher: Teacher) -> list[str]:
    import jax

    origin = teacher.origin
    source, normalization = origin["source"], origin["normalization"]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(teacher.variables["params"]))
    chosen = [f"state at {origin['entry']!r}"] if origin["entry"] else []
    chosen += [f"not taken: {', '.join(map(repr, origin['other_entries']))}"] if origin["other_entries"] else []
    chosen += [f"prefix {origin['prefix']!r} removed"] if origin["prefix"] else []
    numbers = f"mean {_numbers(teacher.mean)}, std {_numbers(teacher.std)}"
    height, width, channels = teacher.image_shape
    lines = [
        f"{teacher.architecture} ({origin['family']}), {teacher.num_classes} classes, {parameters:,} parameters",
        f"  images: {height}x{width}x{channels}{', no other size' if teacher.fixed_size else ''}",
        f"  normalisation: {normalization['name'] or 'unnamed'}, said by {normalization['from']}: {numbers}",
        f"  taps: {len(teacher.taps)}, from {teacher.taps[0].name} to {teacher.taps[-1].name}",
        f"  file: {source['format']}, {source['bytes']:,} bytes of {', '.join(origin['dtypes'])}, sha256 "
        f"{source['sha256']}",
    ]
    lines += [f"  {'; '.join(chosen)}"] if chosen else []
    lines += [f"  left out: {number} {reason}" for reason, number in origin["ignored"].items()]
    if published := origin.get("published"):
        lines.append(
            f"  {published['name']} ({published['paper']}): {published['clean']} % clean, {published['autoattack']} % "
            f"under AutoAttack at {published['epsilon']}"
        )
    return lines


def _numbers(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.4f}" for number in numbers)

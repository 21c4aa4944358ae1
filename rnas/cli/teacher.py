"""`rnas teacher`: trains, imports, checks or halves a teacher, or caches its outputs."""

import argparse
import json
from pathlib import Path
import shlex
import textwrap
import warnings

from ml_collections import ConfigDict

from rnas.cli import platform
from rnas.cli.arguments import SEVERAL, add_shared, read_config
from rnas.cli.run import announce
from rnas.models.model_names import FORMS, SUFFIXES
from rnas.teachers.normalization import NAMED
from rnas.teachers.registry import PUBLISHED
from rnas.training.messages import program, say, tell, write

HOW_TO_EXPORT = """\
Tensors and plain containers in PyTorch's zip format (1.6 and later), safetensors and .npz are read without PyTorch, and
nothing in them is run. Older files are read by PyTorch's reader of weights alone. Those with objects of other packages
need --trust; or they can be brought into that form where PyTorch is installed:

  import torch
  content = torch.load("checkpoint.pt", map_location="cpu", weights_only=False)  # runs whatever the file contains
  state = content["state_dict"]  # wherever the mapping of names to tensors is
  torch.save({name: tensor for name, tensor in state.items() if torch.is_tensor(tensor)}, "plain.pt")
"""

EXAMPLE = "check teachers/rice --dataset=cifar10 --count=1000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")

    def action(name: str, act, help: str, **more) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=help, description=more.pop("description", help), **more)
        made.set_defaults(act=act)
        return made

    for name, help in (
        ("train", "train the teachers of a configuration"),
        ("cache", "make the teacher cache of a configuration (teacher.cache.views)"),
    ):
        add_shared(action(name, train, help), "--config", "--workdir", *SEVERAL)

    names = [f"architectures: {', '.join(FORMS)}, with {'; '.join(SUFFIXES)}", f"normalisations: {', '.join(NAMED)}"]
    names = [*(textwrap.fill(line, 118) for line in names), "published:", *(f"  {key}" for key in PUBLISHED)]
    made = action(
        "import",
        import_file,
        "make a teacher directory from a published checkpoint",
        description="Makes a teacher directory from a checkpoint of PyTorch, safetensors or NumPy.",
        epilog="\n".join([HOW_TO_EXPORT, *names]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("file", metavar="FILE")
    add("--output", required=True, metavar="DIR", help="the teacher directory to make")
    add("--architecture", metavar="NAME", help="default: read from the tensors, where they determine it")
    words = "inside the model, such as none, cifar10 or 0.5,0.5,0.5/0.2,0.2,0.2; default: the file's"
    add("--normalization", metavar="NAME|MEANS/STDS", help=words)
    add("--published", metavar="NAME", help="in RobustBench; sets architecture and normalisation")
    add("--entry", metavar="KEY", help="where in the file the state is; default: the usual places")
    add("--image-size", type=int, metavar="N", help="pixels a side; default: 32, for ImageNet 224")
    add("--trust", action="store_true", help="let PyTorch read what is refused otherwise: old formats, foreign classes")

    made = action("halve", halve, "make a copy of a teacher with weights of half precision, in one file")
    made.add_argument("directory", metavar="DIR")
    made.add_argument("--output", required=True, metavar="DIR", help="the teacher directory to make")

    words = "Clean and PGD accuracy of a teacher on the first test images, and what looks wrong."
    made = action("check", check, "clean and PGD accuracy of a teacher, and what looks wrong", description=words)
    add = made.add_argument
    add("directory", metavar="DIR")
    add("--dataset", required=True, metavar="NAME", help="a TFDS set")
    add_shared(made, "--data-dir", "--json")
    add("--count", type=int, default=200, metavar="N", help="the first N test images; default: 200")
    add("--epsilon", metavar="RADIUS", help="L∞, in pixel units; default: the published one, else 8/255")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Trains, imports, checks or caches; raises ValueError as what does it, or where --output is not empty."""
    platform.prepare(arguments)
    arguments.act(arguments, overrides)
    return 0


def train(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Runs the stage `teacher` of a configuration, or makes its teacher cache, and the teacher first where it lacks."""
    from rnas.runs import stages
    from rnas.training.interruption import interruptible

    config, workdir = read_config(arguments, overrides)
    with interruptible():
        if arguments.action == "cache":
            stages.make_teacher_cache(config, workdir, command=arguments.typed)
        else:
            stages.execute(config, workdir, command=arguments.typed, until="teacher", announce=announce)
            say_next(config, workdir)


def say_next(config: ConfigDict, workdir: Path) -> None:
    """Prints what a trained teacher has reached, and the commands that check and use it."""
    from rnas.artifacts.teacher_card import FILE, TeacherCard

    directory = workdir / "teacher"
    if not (directory / FILE).exists():
        return  # the configuration names a teacher, or needs none
    data = config.data
    if scores := TeacherCard.read(directory / FILE).origin.get("validation"):
        say(
            f"{directory}: {scores['accuracy']:.1%} of the held-out images, {scores['adversarial_accuracy']:.1%} under "
            f"PGD-{config.validation.steps} at {config.adversarial.epsilon}."
        )
    own = [f"--data-dir={data.dir}"] if data.dir else []
    check = [str(directory), f"--dataset={data.name}", *own, f"--epsilon={config.adversarial.epsilon}", "--count=1000"]
    use = shlex.quote(f"--config.teacher.path={directory}")
    say(
        f"To check it:\n  {program()} teacher check {shlex.join(check)}\n"
        f"To use it:\n  {program()} run --config=FILE --workdir=DIR {use}"
    )


def import_file(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Makes a teacher directory from a file, and prints what was read from it."""
    from rnas.teachers.importing import as_text, import_torch

    output = _empty(arguments.output)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: write(f"rnas: WARNING: {message}")
        names = ("architecture", "normalization", "published", "entry", "image_size", "trust")
        teacher = import_torch(arguments.file, **{name: getattr(arguments, name) for name in names})
    teacher.save(output)
    tell(f"{as_text(teacher)}\nwritten to {output}")


def halve(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Writes a smaller copy of a teacher directory, whose teacher has other weights and so another identity."""
    from rnas.teachers import load_teacher

    teacher, output = load_teacher(arguments.directory).halved(), _empty(arguments.output)
    teacher.save(output, half=True)
    tell(f"written to {output}: {teacher.architecture}, hash {teacher.hash}")


def check(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints accuracies and findings of a teacher directory."""
    from rnas.evaluation.teacher_check import as_text, check_teacher

    options = {name: getattr(arguments, name) for name in ("data_dir", "count", "epsilon")}
    result = check_teacher(arguments.directory, arguments.dataset, **options)
    if arguments.json:
        print(json.dumps(result))
    else:
        tell(as_text(result))


def _empty(output: str) -> Path:
    """The path of a directory to make; raises ValueError where something is there already."""
    path = Path(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"there is something at {path} already; name another --output, or remove it.")
    return path

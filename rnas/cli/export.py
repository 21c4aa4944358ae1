"""`rnas export`: a trained model for PyTorch, ONNX, StableHLO or as safetensors, compared with the original."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnas.cli.arguments import add_model, add_shared, read_model, show
from rnas.training.messages import say, tell

if TYPE_CHECKING:  # the rest is imported late, so that --help answers at once
    from rnas.runs.loaded_model import Model

EXAMPLE = "--workdir=runs/rnas_cl/digits --format=onnx --output=student.onnx"
FORMATS = ("safetensors", "torch", "onnx", "int8", "stablehlo", "card")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_shared(parser, "--data-dir", "--json")
    parser.add_argument("--format", required=True, choices=FORMATS, help="of the file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write, .py for torch")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Writes the file and prints how far it is from the model; int8 is then judged on the test images of its run.

    Raises ValueError as `rnas.export.export`.
    """
    from rnas.cli import platform
    from rnas.export import export
    from rnas.export.comparison import as_text

    platform.prepare()
    model = read_model(arguments)
    found = export(model, arguments.format, arguments.output)
    files = [str(path) for path in found.files]
    result: dict[str, Any] = {"files": files, "differences": found.differences}
    text = " and ".join(files) + (f"; run back, its {as_text(found.differences)}" if found.differences else "")
    if arguments.format == "int8":
        judged, more = _judged(model, found.files[0])
        result["quantized"], text = judged, f"{text}\n{more}"
    if arguments.json:
        return show(result, as_json=True)
    tell(text)
    return 0


def _judged(model: Model, path: Path) -> tuple[dict[str, Any], str]:
    """The figures of an int8 file beside those of the float file, as JSON and as text; its run's page has them too."""
    from rnas.export import deployment
    from rnas.pages import write_attack_page, write_report
    from rnas.training.interruption import interruptible

    assert model.run is not None, "the export has needed its images"
    with interruptible():
        found = deployment.judge_int8(model, path, lambda folder: say(f"page: {write_attack_page(folder)}"))
        say(f"page: {write_report(model.run.workdir)}")
    return found.to_json(), deployment.as_text(found)

"""`rnas export`: a trained model for PyTorch, ONNX, StableHLO or as safetensors, compared with the original."""

import argparse

from rnas.cli.arguments import add_model, add_shared, read_model, show
from rnas.training.messages import tell

EXAMPLE = "--workdir=runs/rnas_cl/digits --format=onnx --output=student.onnx"
FORMATS = ("safetensors", "torch", "onnx", "stablehlo", "card")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_shared(parser, "--data-dir", "--json")
    parser.add_argument("--format", required=True, choices=FORMATS, help="of the file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write, .py for torch")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Writes the file and prints how far it is from the model; raises ValueError as `rnas.export.export`."""
    from rnas.cli import platform
    from rnas.export import export
    from rnas.export.comparison import as_text

    platform.prepare()
    found = export(read_model(arguments), arguments.format, arguments.output)
    files = [str(path) for path in found.files]
    if arguments.json:
        return show({"files": files, "differences": found.differences}, as_json=True)
    compared = f"; run back, its {as_text(found.differences)}" if found.differences else ""
    tell(f"{' and '.join(files)}{compared}")
    return 0

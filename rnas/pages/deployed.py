"""The network as it is deployed: its int8 file beside the float one."""

from __future__ import annotations

from typing import Any

from rnas.artifacts.quantized_model import QuantizedModel
from rnas.pages.quantity import exact, norm_label
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy
from rnas.pages.workdir import Workdir


def deployed(files: Workdir) -> dict[str, Any] | None:
    """What the section shows; None where nothing was measured."""
    if not files.quantized:
        return None
    return {"quantized": [_quantized(found) for found in files.quantized]}


def _quantized(found: QuantizedModel) -> dict[str, Any]:
    columns = {
        "File": lambda row: row[0],
        "Bytes": lambda row: Cell(exact(row[1].bytes), value=row[1].bytes),
        "Clean": lambda row: accuracy(row[1].clean),
        "Images of AutoAttack": lambda row: accuracy(row[1].transfer),
        "Square": lambda row: accuracy(row[1].square),
    }
    rows = (("float32", found.float32), ("int8", found.int8))
    table = Table.of(f"quantized_{found.model}", rows, columns, f"{found.label}, ONNX", UNIT, INTERVAL, "accuracy")
    threat = f"{norm_label(found.threat.norm)} \u03b5 = {found.threat.epsilon_text}"
    return {"model": found, "threat": threat, "table": table}

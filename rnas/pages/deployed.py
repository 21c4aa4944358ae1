"""The network as it is deployed: how long it takes, and its int8 file beside the float one."""

from __future__ import annotations

from typing import Any

from rnas.artifacts.latency import Latency, NetworkTiming
from rnas.artifacts.quantized_model import QuantizedModel
from rnas.pages.quantity import compact, exact, milliseconds, norm_label
from rnas.pages.site import Tile
from rnas.pages.table import DASH, INTERVAL, UNIT, Cell, Table, accuracy, short
from rnas.pages.workdir import Workdir


def deployed(files: Workdir) -> dict[str, Any] | None:
    """What the section shows; None where nothing was measured."""
    if not (files.latency or files.quantized):
        return None
    return {
        "latency": files.latency and _latency(files.latency),
        "machine": files.latency and " and ".join(dict.fromkeys((files.latency.device, files.latency.processor))),
        "quantized": [_quantized(found) for found in files.quantized],
    }


def latency_tile(files: Workdir) -> list[Tile]:
    """The latency of the student at batch 1, in the runtime of deployment where that was measured; else nothing.

    One that was measured of another student, before the search was repeated, stands in the table alone.
    """
    size = files.size.get("macs")
    rows = [
        row
        for row in (files.latency.networks if files.latency else ())
        if row.network != "student" or size in (None, row.macs)
    ]
    singles = {(row.runtime, row.network): row.timing.median for row in rows if row.batch == 1}
    for runtime in ("onnxruntime", "jax"):
        if (own := singles.get((runtime, "student"))) is not None:
            teacher = singles.get((runtime, "teacher"))
            beside = {} if teacher is None else {"teacher": milliseconds(teacher)}
            return [Tile(f"Latency of an image, {_NAMES[runtime]}", milliseconds(own), beside)]
    return []


_NAMES = {"jax": "JAX", "onnxruntime": "onnxruntime"}


def _latency(found: Latency) -> Table:
    def spread(row: NetworkTiming) -> Cell:
        low, median, high = (
            milliseconds(each, unit=False) for each in (row.timing.low, row.timing.median, row.timing.high)
        )
        return Cell(median, f"{low}{DASH}{high}", row.timing.median)

    columns = {
        "Network": lambda row: row.network,
        "MACs": lambda row: short(row.macs),
        "Runtime": lambda row: _NAMES[row.runtime],
        "Batch": lambda row: Cell(exact(row.batch), value=row.batch),
        "Milliseconds": spread,
        "Images a second": lambda row: Cell(
            compact(1e3 * row.batch / row.timing.median), value=1e3 * row.batch / row.timing.median
        ),
        "Calls": lambda row: Cell(exact(row.timing.calls), value=row.timing.calls),
    }
    return Table.of("latency", found.networks, columns, "Latency", "", "quartiles")


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

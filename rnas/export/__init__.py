"""Trained models for other tools: PyTorch, ONNX, StableHLO, safetensors, and cards for people."""

from rnas.export.formats import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]

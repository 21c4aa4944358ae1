"""How a trained model is judged: clean accuracy and attacks in pixel space, every example counted once."""

from rnas.evaluation.protocol import Evaluator, evaluate, interval

__all__ = ["Evaluator", "evaluate", "interval"]

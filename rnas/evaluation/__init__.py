"""How a trained model is judged: clean accuracy and attacks in pixel space, every example counted once.

`evaluate` fills the tables of a run with attacks of the PGD family; `assess` is the long, checked evaluation of one
model, with AutoAttack; `assess_dataset` the same for a model of a run, `assess_function` for any JAX function.
"""

from rnas.artifacts.wilson import interval
from rnas.evaluation.assessment import EvaluatedModel, Settings, Threat, assess, assess_dataset, assess_function, failed
from rnas.evaluation.protocol import Evaluator, evaluate

__all__ = [
    "Evaluator",
    "Settings",
    "EvaluatedModel",
    "Threat",
    "assess",
    "assess_dataset",
    "assess_function",
    "evaluate",
    "failed",
    "interval",
]

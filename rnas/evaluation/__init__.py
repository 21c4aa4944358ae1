"""How a trained model is judged: clean accuracy and attacks in pixel space, every example counted once.

`evaluate` fills the tables of a run with attacks of the PGD family. `assess` is the long, checked evaluation of one
model, with AutoAttack; `assess_dataset` the same for a model of a run, `assess_function` for any JAX function, which
`torch_logits` makes of a PyTorch model, and `callback_logits` of any other that is computed elsewhere.
`measure_corruptions` judges a model on corrupted images, with the same two besides.
"""

from rnas.artifacts.attack import Threat
from rnas.evaluation.assessment import assess, assess_dataset, assess_function
from rnas.evaluation.corruption_benchmark import (
    measure_corruptions,
    measure_corruptions_of_dataset,
    measure_corruptions_of_function,
)
from rnas.evaluation.evaluated_model import EvaluatedModel, evaluated_teacher
from rnas.evaluation.foreign_model import callback_logits
from rnas.evaluation.robustness_table import Evaluator, evaluate
from rnas.evaluation.task import Settings
from rnas.evaluation.torch_model import torch_logits

__all__ = [
    "EvaluatedModel",
    "Evaluator",
    "Settings",
    "Threat",
    "assess",
    "assess_dataset",
    "assess_function",
    "callback_logits",
    "evaluate",
    "evaluated_teacher",
    "measure_corruptions",
    "measure_corruptions_of_dataset",
    "measure_corruptions_of_function",
    "torch_logits",
]

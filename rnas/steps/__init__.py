"""Training steps: pure functions of (state, batch), the only place that knows the replica axis.

`make_train_step` trains a fixed network (teacher, student, baseline); `make_search_step` trains the channel-masked
supernet and its architecture in turn; `make_cell_search_step` the cell supernet and its architecture at once. All
build `step(state, images, labels, teacher, root) -> (state, metrics)`; `side_by_side` makes one of many networks of
it, and `run_steps` wraps many of them into one pmapped dispatch. `run_frozen` is the step of an evaluation: an attack,
or another measurement, of a model that no longer changes. `run_teacher_on_views` asks a teacher beforehand, and `CachedTeacher` answers
for it inside the steps.

Inside a step, in this order: keys, augmentation, teacher signals, architecture sample, attack, loss and
gradient, mean over replicas, update. Keys of the architecture never contain the replica; every other key is
folded with the example's position in the global batch, so that replicas differ and the number of devices does
not matter. An architecture update never moves BatchNorm's running statistics.

Not here: data, checkpoints, logging, model choice.
"""

from rnas.steps.augmentation import Augmentation, augment, augment_to_float
from rnas.steps.cached_teacher import CachedBatch, CachedOutputs, CachedTeacher, Views
from rnas.steps.cell_search import make_cell_search_step
from rnas.steps.dispatch import run_frozen, run_steps, run_teacher_on_views
from rnas.steps.keys import step_keys
from rnas.steps.metrics import NEVER, TRAIN_METRICS
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.replicas import AXIS
from rnas.steps.side_by_side import side_by_side
from rnas.steps.state import State, Step
from rnas.steps.train import DropPathSchedule, WeightAverage, WeightPerturbation, make_train_step
from rnas.steps.width_search import SEARCH_METRICS, make_search_step

__all__ = [
    "AXIS",
    "NEVER",
    "SEARCH_METRICS",
    "TRAIN_METRICS",
    "Augmentation",
    "CachedBatch",
    "CachedOutputs",
    "CachedTeacher",
    "DropPathSchedule",
    "Optimizer",
    "State",
    "Step",
    "Views",
    "WeightAverage",
    "WeightPerturbation",
    "augment",
    "augment_to_float",
    "make_cell_search_step",
    "make_optimizer",
    "make_search_step",
    "make_train_step",
    "run_frozen",
    "run_steps",
    "run_teacher_on_views",
    "side_by_side",
    "step_keys",
]

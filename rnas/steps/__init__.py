"""Training steps: functions of (state, batch), the only place with the axis of replicas and with devices.

`TrainStep` trains a fixed network (teacher, student, baseline); `WidthSearchStep` trains the channel-masked supernet
and its architecture in turn; `CellSearchStep` the cell supernet and its architecture at once. Each is called as
`step(state, images, labels, teacher_variables, root) -> (state, metric sums)`, and `step.metrics` names the metrics.
`side_by_side` makes a step of many networks of a step of one, `over_seeds` one of many batches and root keys.

`dispatch` maps them over devices: `run_steps` runs many steps, `run_frozen` measures a model that no longer changes (an
attack, for one), `run_teacher_on_views` computes a teacher's outputs beforehand, which a `CachedTeacher` then passes
to the steps.

Inside a step, in this order: keys, augmentation, teacher outputs, architecture sample, attack, loss and
gradient, mean over replicas, update. Keys of the architecture never contain the replica; every other key is
folded with the example's position in the global batch, so that replicas differ and the number of devices does
not matter. An architecture update never moves BatchNorm's running statistics.

Not here: data, checkpoints, logging, model choice.
"""

from rnas.steps.augmentation import Augmentation, augment, augment_to_float
from rnas.steps.cached_teacher import CachedBatch, CachedOutputs, CachedTeacher, Views
from rnas.steps.cell_search import CellSearchStep
from rnas.steps.cutmix import cutmix
from rnas.steps.dispatch import forget_programs, run_frozen, run_steps, run_teacher_on_views
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.replicas import AXIS, NEVER, NO_EXAMPLE, TRAIN_METRICS, step_keys
from rnas.steps.side_by_side import over_seeds, side_by_side, stacked, unstacked
from rnas.steps.state import State, Step
from rnas.steps.train import DropPathSchedule, TrainStep, WeightAverage, WeightPerturbation
from rnas.steps.width_search import TutorSearchStep, WidthSearchStep

__all__ = [
    "AXIS",
    "NEVER",
    "NO_EXAMPLE",
    "TRAIN_METRICS",
    "Augmentation",
    "CachedBatch",
    "CachedOutputs",
    "CachedTeacher",
    "CellSearchStep",
    "DropPathSchedule",
    "Optimizer",
    "State",
    "Step",
    "TrainStep",
    "Views",
    "WeightAverage",
    "WeightPerturbation",
    "TutorSearchStep",
    "WidthSearchStep",
    "augment",
    "augment_to_float",
    "cutmix",
    "forget_programs",
    "make_optimizer",
    "over_seeds",
    "run_frozen",
    "run_steps",
    "run_teacher_on_views",
    "side_by_side",
    "stacked",
    "step_keys",
    "unstacked",
]

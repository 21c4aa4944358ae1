"""Trained models restored from disk by one path: for Python by `rnas.load`, for `rnas attack`, for `rnas export`."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

import rnas
from rnas.artifacts.model_card import ModelCard, attacks_of, scores_of
from rnas.artifacts.teacher_card import FILE as TEACHER
from rnas.artifacts.teacher_card import TeacherCard
from rnas.config.load import FILE as CONFIG
from rnas.config.load import recorded_config
from rnas.evaluation import EvaluatedModel, evaluated_teacher
from rnas.runs import recipes
from rnas.runs.run import Run
from rnas.runs.stages import open_run
from rnas.runs.table_models import evaluated_cell
from rnas.runs.table_run import SYSTEM as TABLE
from rnas.runs.table_run import TableRun
from rnas.runs.trained_models import evaluated_model
from rnas.teachers import Tap, describe_taps, load_teacher
from rnas.teachers.teacher import teacher_directory


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained classifier, in inference mode and float32.

    Attributes:
      evaluated: the same as `rnas attack` judges it: the pure function `predict(variables, images)`, and its variables.
      image_shape: [H, W, C] of the images that it takes.
      card: what is known of it, JSON-able by `card.to_json()`.
      run: where it comes from; None of a teacher in a directory of its own.
    """

    evaluated: EvaluatedModel
    image_shape: tuple[int, int, int]
    card: ModelCard
    run: Run | None = None

    @classmethod
    def of_run(cls, workdir: str | Path, name: str = "student", *, data_dir: str | None = None) -> Self:
        """A model of a run; arguments and errors are those of `load`."""
        config = recorded_config(workdir)
        if config.system == TABLE:
            return cls._of_cell(TableRun(config, Path(workdir)), name)
        if data_dir is not None:
            config.data.dir = data_dir
        run = open_run(config, workdir)
        found, shape = evaluated_model(run, name), tuple(config.data.image_shape)
        return cls(found, shape, _card(found, shape, config.data.name, _training(run, found), run.workdir), run)

    @classmethod
    def _of_cell(cls, table: TableRun, name: str) -> Self:
        """A network of a table whose weights were kept."""
        found, task, config = evaluated_cell(table, name), table.task, table.config
        shape = task.image_size, task.image_size, task.inputs
        training = {"system": config.system, "method": "pgd_at", "epochs": config.train.epochs}
        training |= {"epsilon": config.adversarial.epsilon, "weights": config.train.weights}
        return cls(found, shape, _card(found, shape, config.data.name, training, table.workdir))

    @classmethod
    def of_teacher(cls, path: str | Path) -> Self:
        """The teacher of a directory, or `shipped:NAME`; raises as `rnas.teachers.load_teacher`."""
        teacher, folder = load_teacher(path), teacher_directory(path)
        card = TeacherCard.read(folder / TEACHER)
        found = evaluated_teacher(teacher, card.image_shape, source=str(path))
        return cls(found, card.image_shape, _card(found, card.image_shape, card.dataset, card.origin, folder))

    @property
    def variables(self) -> Any:
        """Its Flax variables, {'params', 'batch_stats'}."""
        return self.evaluated.variables

    @functools.cached_property
    def taps(self) -> tuple[Tap, ...]:
        """Name and size [h, w, c] of its intermediate outputs, in forward order."""
        return describe_taps(self.evaluated.network, self.image_shape)

    def logits(self, images: Any) -> jax.Array:
        """Returns the logits [N, K], float32, of `images` [N, H, W, C], floats in [0, 1].

        It is compiled once for every N, can be differentiated, and may stand within `jax.jit`; `rnas.attacks` take it
        as their `logits_fn`. Matrix products are those of full float32 on every device.

        Raises ValueError for images of another shape, bytes, or pixels outside of [0, 1].
        """
        expected = f"expected floats [N, {', '.join(map(str, self.image_shape))}] in [0, 1]"
        shape, dtype = np.shape(images), getattr(images, "dtype", np.dtype(float))
        if len(shape) != 4 or shape[1:] != self.image_shape:
            raise ValueError(f"images have the shape {shape}; {expected}, channels last.")
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"images are {dtype}; {expected}: divide bytes by 255.")
        if not isinstance(images, jax.core.Tracer) and np.size(images):
            low, high = float(jnp.min(images)), float(jnp.max(images))
            if not (low >= 0 and high <= 1):
                raise ValueError(
                    f"pixels go from {low:.4g} to {high:.4g}; {expected}. The normalisation is inside the model."
                )
        with jax.default_matmul_precision("highest"):
            return self._compiled(self.variables, jnp.asarray(images, jnp.float32))

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self.evaluated.predict)


def load(source: str | Path, model: str = "student", *, data_dir: str | None = None) -> Model:
    """Restores a trained model: `load("runs/rnas_cl/digits").logits(images)`.

    No images are needed, except where a run has fine-tuned its student: which of both states is better shows on them.

    Args:
      source: the work directory of a run or a table, the directory of a teacher, or `shipped:NAME` of one that comes
        with rnas.
      model: of a run: student, student_last, teacher or baseline_<name>; of a table whose weights were kept (see
        `train.keep_weights`): <id>_seed<seed>.
      data_dir: where the images of the run are, if not where its configuration has them.

    Raises ValueError where there is neither, the run has no such model or has not trained it, or it is damaged.
    """
    folder = teacher_directory(source)
    if (folder / TEACHER).is_file():
        return Model.of_teacher(source)
    if not (folder / CONFIG).is_file():
        runs = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        hint = f"; it holds runs, of which one can be named, such as {runs[0]}" if runs else ""
        raise ValueError(
            f"{folder} holds neither {CONFIG} nor {TEACHER}{hint}: expected the work directory of a run, or a teacher."
        )
    return Model.of_run(folder, model, data_dir=data_dir)


def _card(
    found: EvaluatedModel, shape: tuple[int, int, int], dataset: str, training: Mapping[str, Any], folder: Path
) -> ModelCard:
    facts = ("name", "label", "kind", "architecture", "params", "macs", "num_classes", "hash", "source", "checkpoint")
    network: Any = found.network
    return ModelCard(
        **{name: getattr(found, name) for name in facts},
        image_shape=shape,
        mean=tuple(network.mean),
        std=tuple(network.std),
        dataset=dataset,
        training=training,
        evaluation=scores_of(folder, found.name, found.checkpoint),
        attacks=attacks_of(folder / "attacks", found.hash),
        versions={"rnas": rnas.__version__},
    )


def _training(run: Run, found: EvaluatedModel) -> dict[str, Any]:
    """How a model of a run came to be."""
    config = run.config
    if found.checkpoint is None:
        return dict(run.judged_teacher.origin)
    recipe = recipes.recipe(config, found.checkpoint.stage)
    method = recipe.objective.adversarial
    facts = {"system": config.system, "method": method.name, "epochs": recipe.epochs, "seed": config.seed}
    return facts | ({"epsilon": config.adversarial.epsilon} if method.attacks else {})

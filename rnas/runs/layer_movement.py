"""How well the layers of a teacher withstand attack: by how little their attention maps move."""

import dataclasses
import functools

import jax
import numpy as np

from rnas import attacks
from rnas.artifacts.layer_movement import FILE, LayerMovement
from rnas.attacks import catalogue
from rnas.attacks.losses import cross_entropy
from rnas.evaluation.runner import Runner
from rnas.objectives import attention_maps, paired_distances
from rnas.runs.run import Run

ATTACK = catalogue.pgd(10)


def layer_movement(run: Run) -> np.ndarray:
    """Returns [n_t]: how far PGD-10 on the teacher moves the normalised attention map of each tap, as ‖·‖² in [0, 2].

    It is the mean over the held-out images that choose checkpoints, at the radius of training; measured once for a work
    directory. Raises ValueError where none are held out, or the directory holds what was measured otherwise.
    """
    teacher, config, path = run.judged_teacher, run.config, run.workdir / FILE
    epsilon, images = attacks.radius(config.adversarial.epsilon), run.validation
    if not len(images):
        raise ValueError("how far an attack moves a teacher's layers needs held-out images: set data.held_out.")
    found = LayerMovement(
        teacher.identity, ATTACK.name, epsilon, len(images), config.attention.size, teacher.tap_names, movement=()
    )
    if path.exists():
        former = LayerMovement.read(path)
        if dataclasses.replace(former, movement=()) != found:
            raise ValueError(
                f"{path} was measured on another teacher, on other images or at another radius; delete it."
            )
        return np.array(former.movement)

    def program(apply, images, labels, keys, settings, carry):
        points = attacks.projected_ascent(
            lambda points: cross_entropy(apply(points)[0], labels),
            attacks.initial_images(keys, images, epsilon, "uniform"),
            images,
            epsilon=epsilon,
            step_size=ATTACK.step_size(epsilon),
            steps=ATTACK.steps,
        )
        maps = functools.partial(attention_maps, names=teacher.tap_names, size=config.attention.size)
        return paired_distances(maps(apply(images)[1]), maps(apply(points)[1]))

    runner = Runner(teacher.apply, [config.evaluation.batch_size])
    rows, key = np.arange(len(images)), jax.random.key(config.seed)
    movement = runner.run(teacher.variables, images, program, rows, key, None).mean(axis=0, dtype=np.float64)
    if jax.process_index() == 0:
        dataclasses.replace(found, movement=tuple(map(float, movement))).write(path)
    return movement

"""A first look at a teacher on labelled images: clean and PGD accuracy, and what may be wrong with it.

A wrong normalisation, activation or order of classes raises no error; it costs accuracy. A few hundred images show it.
"""

import math
from pathlib import Path

import jax
import numpy as np

from rnas.artifacts.scores import AttackScore, Score
from rnas.attacks.epsilon_parsing import pixel_radius
from rnas.attacks.input_checks import check_count, check_seed
from rnas.data.datasets import Split, evaluation_split, image_and_label, open_builder, read_split
from rnas.data.stream import Stream
from rnas.evaluation.robustness_table import CURVE_ATTACK, Evaluator
from rnas.evaluation.runner import pixels
from rnas.teachers.normalization import NAMED, Normalization, expand, name_of
from rnas.teachers.teacher import Teacher, load_teacher

TOLERATED = 0.02  # share of images by which accuracy may differ from the published one


def check_teacher(
    path: str | Path,
    dataset: str,
    *,
    data_dir: str | None = None,
    count: int = 200,
    epsilon: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> dict:
    """Clean accuracy and accuracy under PGD-20 on the first test images, with hints at what looks wrong.

    Raises ValueError if there is no such teacher or set, or they do not fit.

    Args:
      path: a teacher directory.
      dataset: a TFDS set; images that differ in size are resized and cropped in the centre, as those were on which the
        published accuracy was measured.
      epsilon: L∞ radius; None is that of the published network, else 8/255.
      batch_size: at most; made a multiple of the devices.
    """
    check_count("count", count, least=1)
    check_count("batch_size", batch_size, least=1)
    check_seed(seed)
    teacher = load_teacher(path)
    published = teacher.origin.get("published")
    if epsilon is None:
        epsilon = published["epsilon"] if published else "8/255"
    radius = float(pixel_radius(epsilon, "linf"))
    if published and teacher.origin["dataset"]["name"] != dataset.partition(":")[0]:
        published = None  # its figures are of other images
    images = first_images(teacher, dataset, data_dir, count)
    devices = jax.device_count()
    batch_size = math.ceil(min(batch_size, len(images)) / devices) * devices
    evaluator = Evaluator(lambda variables, x: teacher.apply(variables, x)[0], batch_size=batch_size, seed=seed)

    def right(shown: np.ndarray) -> np.ndarray:
        """Whether each image, of which `shown` is what the teacher is given, is classified rightly."""
        rows = np.resize(np.arange(len(shown)), math.ceil(len(shown) / batch_size) * batch_size)
        guesses = [evaluator.predictions(teacher.variables, shown[batch]) for batch in rows.reshape(-1, batch_size)]
        return np.concatenate(guesses)[: len(shown)] == images.labels

    own = Normalization(teacher.mean, teacher.std)
    clean = right(pixels(images.images))
    others = {
        name: right(seen_by(own, other, pixels(images.images)))
        for name in NAMED
        if len((other := expand(name, len(own.mean))).mean) == len(own.mean) and not own.near(other)
    }
    standing = np.flatnonzero(clean)
    fooled, _ = evaluator.attack(teacher.variables, images, CURVE_ATTACK, radius, standing)
    settings = {"step_size": CURVE_ATTACK.step_size(radius), "steps": CURVE_ATTACK.steps}
    robust = AttackScore.of(len(standing) - int(np.sum(fooled)), len(images), epsilon=radius, settings=settings)
    result = {
        "teacher": {"path": str(path), "architecture": teacher.architecture, "hash": teacher.hash},
        "dataset": {"name": dataset, "count": len(images)},
        "normalization": {"name": name_of(own), "mean": list(own.mean), "std": list(own.std)},
        "clean": Score.of(int(np.sum(clean)), len(images)).to_json(),
        CURVE_ATTACK.name: robust.to_json(),
        "other_normalizations": {name: float(np.mean(hits)) for name, hits in others.items()},
        "published": published,
    }
    return {**result, "hints": hints(clean, others, robust.accuracy, published, num_classes=teacher.num_classes)}


def as_text(result: dict) -> str:
    """The outcome for a terminal."""
    published, robust = result["published"], result[CURVE_ATTACK.name]

    def line(name: str, figures: dict, known: float | None) -> str:
        low, high = figures["interval"]
        said = "" if known is None else f"   published {known:.2f}"
        return f"  {name:30} {100 * figures['accuracy']:6.2f}  ({100 * low:.1f} to {100 * high:.1f}){said}"

    lines = [
        f"{result['teacher']['architecture']} at {result['teacher']['path']}, {result['dataset']['name']}, first "
        f"{result['dataset']['count']} test images, accuracy in %",
        line("clean", result["clean"], published and published["clean"]),
        line(f"{CURVE_ATTACK.label} at {255 * robust['epsilon']:.2f}/255", robust, None),
    ]
    if published:
        lines.append(f"  published under AutoAttack at {published['epsilon']}: {published['autoattack']:.2f}")
    return "\n".join([*lines, *(f"  ! {hint}" for hint in result["hints"])])


def seen_by(own: Normalization, other: Normalization, images: np.ndarray) -> np.ndarray:
    """Images that `own` normalises to what `other` makes of `images`; not in [0, 1]."""
    (mean, std), (other_mean, other_std) = np.asarray(own, np.float32), np.asarray(other, np.float32)
    return (images - other_mean) / other_std * std + mean


def hints(
    clean: np.ndarray, others: dict[str, np.ndarray], robust: float, published: dict | None, *, num_classes: int
) -> list[str]:
    """The likeliest thing that looks wrong, or none.

    Args:
      clean: [N] bool, whether an image is classified rightly; `others`, the same under other normalisations, by name.
      robust: accuracy under attack.
      published: name and clean accuracy in percent of the network that this should be, if that is known.
    """
    accuracy = float(np.mean(clean))
    low, high = Score.of(int(np.sum(clean)), len(clean)).interval
    better = max(others, key=lambda name: np.sum(others[name]), default=None)
    if better:
        gain, differing = int(np.sum(others[better])) - int(np.sum(clean)), int(np.sum(others[better] != clean))
        # Two standard deviations of the difference, were both equally good.
        if gain > max(TOLERATED * len(clean), 2 * math.sqrt(differing)):
            return [
                f"the normalisation looks wrong: with {better!r} {100 * np.mean(others[better]):.1f} % of the images "
                f"are classified rightly instead of {100 * accuracy:.1f} %. Import the file again with "
                f"--normalization={better}."
            ]
    if low <= 1 / num_classes:
        return ["this is no better than chance: look at the order of the classes, the images and the architecture."]
    if published and not low - TOLERATED <= published["clean"] / 100 <= high + TOLERATED:
        return [
            f"{published['name']} is published with {published['clean']} % on clean images. The usual causes of a "
            "difference: normalisation, SiLU or ReLU, raw or activated shortcuts, order of the classes, another "
            "resizing of the images, another file."
        ]
    if robust < 0.1 * accuracy:
        return ["PGD-20 fools almost every image: this teacher is not robust at this radius."]
    return []


def first_images(teacher: Teacher, name: str, data_dir: str | None, count: int) -> Split:
    """The first `count` test images of a TFDS set, of the teacher's size. Raises ValueError where they do not fit."""
    height, width, channels = teacher.image_shape
    builder = open_builder(name, data_dir)
    image, label = image_and_label(builder)
    shape, classes = builder.info.features[image].shape, builder.info.features[label].num_classes
    fits = shape[-1] == channels if None in shape else shape == teacher.image_shape
    if not fits or classes != teacher.num_classes:
        raise ValueError(
            f"the teacher takes images of {teacher.image_shape} and has {teacher.num_classes} classes; {name!r} has "
            f"images of {shape} and {classes} classes."
        )
    if None not in shape:
        split = read_split(builder, evaluation_split(builder))
        return split.take(np.arange(min(count, len(split))))
    resize = teacher.origin.get("dataset", {}).get("resize", round(height * 256 / 224))
    stream = Stream(name, data_dir=data_dir, part="test", batch_size=1, seed=0, image_size=height, resize=resize)
    return stream.read(stream.rows[:count])

"""An evaluation that a sceptic can follow: clean accuracy, attacks in turn, self-checks, everything recounted.

It leaves a folder with `attack.json` (figures and checks), `examples.csv` and `examples.npz` (one row per example),
`adversarial.npz` (every fooling image), `attack.log` and `report.html`. Stopped anywhere, it goes on where it was:
finished batches are kept in a ledger until the end.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
import hashlib
from pathlib import Path
import re
from typing import Any

import jax
import numpy as np

from rnas.artifacts.files import read_json, write_json
from rnas.artifacts.run_record import versions
from rnas.attacks import checks as verdicts
from rnas.attacks.auto_attack import Plan, plan_auto_attack
from rnas.attacks.direct import count_classes
from rnas.attacks.inputs import check_inputs
from rnas.attacks.lengths import pixel_radius
from rnas.attacks.parts import check_shape, parts_of
from rnas.data.datasets import Dataset, Split
from rnas.evaluation.campaign import Campaign
from rnas.evaluation.ledger import Ledger, check_identity
from rnas.evaluation.runner import pixels
from rnas.evaluation.transfer import load_transfer
from rnas.pages import write_attack_page

SUMMARY = "attack.json"
LEDGER = "ledger"


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A frozen model under evaluation.

    Attributes:
      predict: (variables, images [N,H,W,C] float in [0, 1]) -> logits [N,K]; of a random model with a key as
        third argument, from which all its randomness comes.
      variables: whatever `predict` takes.
      num_classes: K.
      name, source, architecture: for the reader.
      hash: tells this model from any other.
      params, macs: its size, if known.
    """

    predict: Callable[..., jax.Array]
    variables: Any
    num_classes: int
    name: str
    hash: str
    source: str = ""
    architecture: str = ""
    params: int | None = None
    macs: int | None = None


@dataclass(frozen=True)
class Threat:
    """Every image within `epsilon` (pixel units) of the clean one in `norm`; `text` is the radius as given."""

    norm: str
    epsilon: float
    text: str

    @classmethod
    def of(cls, epsilon: str | float, norm: str = "linf") -> "Threat":
        """Reads a radius such as '8/255'; raises ValueError where it cannot be one."""
        return cls(norm, float(pixel_radius(epsilon, norm)), str(epsilon))


@dataclass(frozen=True)
class Settings:
    """How to attack.

    Attributes:
      attack: 'auto_attack', or names as in `rnas.attacks.parts.NAMES`, separated by commas.
      version: of AutoAttack.
      seed: of every random draw.
      batch_size: the largest, over all devices.
      individually: every attack on every correctly classified example, not only on those that still stand.
      transfer: folders of finished evaluations of other models, whose images are tried on this one.
    """

    attack: str = "auto_attack"
    version: str = "standard"
    seed: int = 0
    batch_size: int = 128
    individually: bool = False
    transfer: tuple[str, ...] = ()

    def plan(self, norm: str, num_classes: int) -> Plan:
        """The parts to run, in order; raises ValueError for unknown names."""
        if self.attack == "auto_attack":
            return plan_auto_attack(self.version, norm, num_classes)
        if self.version != "standard":
            raise ValueError(f"version {self.version!r} belongs to auto_attack, not to a list of attacks.")
        names = [name.strip() for name in self.attack.split(",")]
        kinds = [name.partition("*")[0] for name in names]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"attack {twice[0]!r} is named twice; write '{twice[0]}*R' for R restarts.")
        return Plan("", tuple(part for name in names for part in parts_of(name, norm, num_classes)), 1)


def assess(
    subject: EvaluatedModel,
    split: Split,
    dataset: dict[str, Any],
    threat: Threat,
    settings: Settings,
    folder: str | Path,
) -> dict[str, Any]:
    """Runs or resumes an evaluation and returns its summary, the content of `attack.json`.

    Args:
      split: images uint8 or float32 in [0, 1], labels, ids; may be empty.
      dataset: what the reader must know of it: at least 'name' and 'split'.
      folder: where the outcome goes. A finished evaluation found there is returned as it is.

    Raises:
      ValueError: inputs that cannot be attacked; a folder that holds another evaluation.
    """
    folder = Path(folder)
    try:
        check_inputs(pixels(split.images), split.labels, subject.num_classes)
    except ValueError as error:
        raise ValueError(f"check A (inputs) failed: {error}") from error
    plan = settings.plan(threat.norm, subject.num_classes)
    check_shape(plan.parts, split.images.shape[1:], threat.norm)
    data = {**dataset, "count": len(split), "sha256": _hash(split)}
    identity = {
        "model": subject.hash,
        "data": data["sha256"],
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "attacks": [part.label for part in plan.parts],
        "version": plan.version,
        "seed": settings.seed,
        "individually": settings.individually,
        "transfer": list(settings.transfer),
    }
    if (folder / SUMMARY).exists():
        former = read_json(folder / SUMMARY)
        check_identity(former.get("identity", {}), identity, folder)
        if (folder / LEDGER).exists():  # stopped between its last file and its end
            _conclude(folder, Ledger(folder / LEDGER, identity))
        return former
    transfers = [load_transfer(source, split, data["sha256"], threat) for source in settings.transfer]
    ledger = Ledger(folder / LEDGER, identity)
    campaign = Campaign(subject, split, threat, settings, plan, ledger, folder)
    outcome = campaign.run(transfers)
    summary = {
        "format": 1,
        "complete": True,
        "identity": identity,
        "model": {key: getattr(subject, key) for key in
                  ("name", "source", "architecture", "hash", "params", "macs", "num_classes")},
        "dataset": data,
        "threat": {"norm": threat.norm, "epsilon": threat.epsilon, "epsilon_text": threat.text},
        "attack": settings.attack,
        "version": plan.version,
        "seed": settings.seed,
        **outcome,
        "caveat": verdicts.CAVEAT,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "batch_size": settings.batch_size,
        "precision": f"float32, matrix products {jax.config.jax_default_matmul_precision or 'default'}",
    }  # fmt: skip
    summary["checks"] = [asdict(check) for check in (*outcome["checks"], verdicts.check_complete(summary))]
    if jax.process_index() == 0:
        write_json(folder / SUMMARY, summary)
    _conclude(folder, ledger)
    return summary


def assess_dataset(
    subject: EvaluatedModel,
    dataset: Dataset,
    threat: Threat,
    settings: Settings,
    root: str | Path,
    *,
    split: str = "test",
    count: int | None = None,
    foreign: bool = False,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """`assess` on the first images of a data set, in a folder named after what was asked for.

    Args:
      root: where the folders of one run, or of one teacher, are.
      split: 'test', 'validation' or 'train', not streamed.
      count: how many images; None, or more than there are, is all of them.
      foreign: whether the subject is of other data; the folder is then named after these too.
      output: the folder itself, in place of one under `root`.

    Raises:
      ValueError: a split that is streamed or empty, a count below 1, and see `assess`.
    """
    images = getattr(dataset, split)
    if not hasattr(images, "images"):
        raise ValueError(f"the {split} split of {dataset.name} is streamed; attack test or validation.")
    if not len(images):
        raise ValueError(f"the {split} split of {dataset.name} is empty; attack another.")
    if count is not None and count < 1:
        raise ValueError(f"count={count}: expected at least 1 image.")
    chosen = images.take(np.arange(min(count or len(images), len(images))))
    settings.plan(threat.norm, subject.num_classes)  # refuses unknown names before a folder is named after them
    name = [subject.name, settings.attack, threat.norm, threat.text.replace("/", "-")]
    name += [settings.version] if settings.version != "standard" else []
    name += [split] if split != "test" else []
    name += [dataset.name] if foreign else []
    name += [f"first{len(chosen)}"] if len(chosen) < len(images) else []
    name += [f"seed{settings.seed}"] if settings.seed else []
    name += ["individually"] if settings.individually else []
    name += ["transfer"] if settings.transfer else []
    described = {
        "name": dataset.name,
        "version": dataset.version,
        "split": split,
        "first": 0,
        "class_names": list(dataset.class_names),
    }
    folder = output or Path(root) / re.sub(r"[^\w.-]+", "-", "_".join(name))
    return assess(subject, chosen, described, threat, settings, folder)


def assess_function(
    logits_fn: Callable[..., jax.Array],
    images: np.ndarray,
    labels: np.ndarray,
    folder: str | Path,
    *,
    epsilon: str | float,
    norm: str = "linf",
    name: str = "model",
    dataset: str = "data",
    **settings: Any,
) -> dict[str, Any]:
    """Evaluates any JAX function; the whole of `rnas attack` without a run directory.

    Args:
      logits_fn: images [N, H, W, C] float32 in [0, 1] → logits [N, K], in inference mode, normalisation inside;
        with version='rand': (images, key) → logits.
      images: float32 [N, H, W, C] in [0, 1].
      labels: integers [N].
      folder: where the outcome goes; also what a second call resumes from.
      epsilon: radius in pixel units, a number or a string such as '8/255'.
      norm: 'linf', 'l2' or 'l1'.
      name, dataset: for the reader. A function has no fingerprint but what it answers, so the hash of the model
        is that of its logits on the first images.
      settings: fields of `Settings`.

    Raises:
      ValueError: see `assess`.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    settings = Settings(**settings)
    draw = (jax.random.key(settings.seed),) if settings.version == "rand" else ()
    split = Split(images, labels, np.arange(len(images)))
    answers = jax.jit(lambda *inputs: logits_fn(*inputs))(images[:4], *draw) if len(images) else np.zeros(0)
    subject = EvaluatedModel(
        predict=lambda variables, *inputs: logits_fn(*inputs),
        variables=np.zeros(()),  # pmap wants an array
        num_classes=count_classes(logits_fn, images, *draw),
        name=name,
        hash=hashlib.sha256(np.round(np.asarray(answers, np.float64), 3).tobytes()).hexdigest(),
    )
    return assess(subject, split, {"name": dataset, "split": "given"}, Threat.of(epsilon, norm), settings, folder)


def failed(summary: dict[str, Any]) -> list[str]:
    """Letters of the checks that failed."""
    return [check["letter"] for check in summary["checks"] if check["status"] == "failed"]


def _conclude(folder: Path, ledger: Ledger) -> None:
    if jax.process_index() == 0:
        write_attack_page(folder)
    ledger.close()


def _hash(split: Split) -> str:
    digest = hashlib.sha256(f"{split.images.dtype} {split.images.shape}".encode())
    digest.update(np.ascontiguousarray(split.images))
    digest.update(np.ascontiguousarray(split.labels, dtype=np.int64))
    return digest.hexdigest()

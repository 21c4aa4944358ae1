"""The stages that every system shares: a teacher, training of what the search found, its baselines, evaluation, report.

A system says what its supernet is, how it is searched, and what is read off it; everything else is the same code.
"""

import abc
import dataclasses
import functools
import hashlib
from pathlib import Path
import sys

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import objectives, steps
from rnas.artifacts.architecture import Architecture, Tutelage
from rnas.artifacts.evaluation import Evaluation, ExampleImages, ModelScores
from rnas.artifacts.files import read_json
from rnas.artifacts.run_record import versions
from rnas.artifacts.scores import AttackScore
from rnas.attacks.catalogue import AUTO_ATTACK
from rnas.evaluation import (
    EvaluatedModel,
    Evaluator,
    Settings,
    Threat,
    assess_dataset,
    evaluate,
    evaluated_teacher,
)
from rnas.evaluation.robustness_table import table_attacks
from rnas.layers.counting import count
from rnas.models import build_model
from rnas.objectives import METHODS
from rnas.objectives.joint import FixedTutors, Objective, SampledTutors
from rnas.pages import write_attack_page, write_report
from rnas.runs.components import Components, predict
from rnas.runs.model_labels import kind_and_label
from rnas.runs.teaching import GIB, Teaching, live, recalled, untaught
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State
from rnas.teachers import Teacher, content_hash, save_teacher
from rnas.teachers.cache import TeacherCache, asker, fitted
from rnas.teachers.teacher import CARD
from rnas.training.checkpoints import Restored
from rnas.training.loop import fit
from rnas.training.metrics_log import MetricsLog
from rnas.training.programs import forget_programs
from rnas.training.progress import Progress

# The same student trained without parts of the joint objective, or by one method alone: what its objective changes.
ALONE = dict(gamma=0.0, kl_weight=0.0, view="clean")
BASELINES = {
    "no_distillation": ALONE,
    "plain": dict(ALONE, adversarial="none"),
    **{name: dict(ALONE, adversarial=name) for name in METHODS if name != "none"},
    "pgd_at_awp": dict(ALONE, adversarial="pgd_at"),
    "trades_awp": dict(ALONE, adversarial="trades"),
}
TEACHERS = ("teacher", "natural_teacher")


def say(message: str) -> None:
    """Prints to standard error, on the first process only."""
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)


class System(Components, abc.ABC):
    """The stages of one configuration over one work directory.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        super().__init__(config, workdir)
        if self.objective_of("teacher").needs_teacher:
            raise ValueError(f"teacher.objective={config.teacher.objective!r} needs a teacher itself; use another.")
        self.objective_of("finetune")
        for stage in ("teacher", "train", *(f"baseline_{name}" for name in config.baselines)):
            epochs = self._section(stage).epochs
            gamma, first_epoch = self._perturbation_of(stage)
            if gamma and first_epoch >= epochs:
                raise ValueError(
                    f"stage {stage} perturbs its weights from epoch {first_epoch} on, which it never reaches in "
                    f"{epochs}: train longer, or without."
                )
            method = self.objective_of(stage).adversarial
            if method.first_epoch >= epochs:
                (name,) = (name for name, kind in METHODS.items() if kind is type(method))
                raise ValueError(
                    f"stage {stage} trains by {name} from epoch {method.first_epoch} on, which it never reaches in "
                    f"{epochs}: set adversarial.{name}.first_epoch lower, or train longer."
                )

    # -- what a system says of itself ---------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def supernet(self):
        """The Flax module that is searched; its `taps` name the student's taps."""

    @abc.abstractmethod
    def described(self) -> dict[str, tuple]:
        """Networks worth describing besides the student, 'supernet' among them: {name: (module, further inputs)}."""

    def given_architecture(self) -> Architecture | None:
        """The architecture that the configuration names, if it names one."""
        return None

    @abc.abstractmethod
    def network(self, architecture: Architecture):
        """The Flax module of an architecture, averaging batch statistics over the replicas."""

    @abc.abstractmethod
    def search(self) -> None:
        """Searches; its checkpoints hold the outcome."""

    @abc.abstractmethod
    def derive(self) -> None:
        """Writes `architecture.json`."""

    def baseline(self, name: str) -> Architecture:
        """The architecture of the baseline `name`."""
        del name  # the student's own
        return self.architecture

    def initial_student(self, architecture: Architecture):
        """Weights that training starts from. Baselines of the same network start where the student does."""
        return self.initial_variables(self.network(architecture), "train")

    def augmentation_of(self, stage: ConfigDict) -> steps.Augmentation:
        """How the images of a stage are varied."""
        del stage  # the same everywhere
        return steps.Augmentation(self.config.data.crop_padding, self.config.data.flip)

    # -- what stages learn from ---------------------------------------------------------------------------

    def teaching(self, teacher: Teacher | None, stage: ConfigDict, loader, steps_per_epoch: int) -> Teaching:
        """How a stage is taught: by `teacher` in every step, or by the teacher cache, which is finished first.

        With a cache, training without a teacher sees its views too: student and baselines differ in how they learn, not in
        the images.
        """
        cached = self.config.teacher.cache
        if not cached.views or (teacher is None and stage is not self.config.train):
            return live(teacher, self.augmentation_of(stage), loader)
        if teacher is None:
            return untaught(self._views, loader, steps_per_epoch=steps_per_epoch)
        cache = self.finished_cache()
        return recalled(cache, self._views, loader, steps_per_epoch=steps_per_epoch, resident_gib=cached.resident_gib)

    def check_cacheable(self) -> None:
        """Raises ValueError where the configuration asks for no teacher cache, or for no teacher."""
        if not self.config.teacher.cache.views:
            raise ValueError("teacher.cache.views is 0, so nothing is kept; give --config.teacher.cache.views=N.")
        if not self.uses_teacher:
            raise ValueError("no stage learns from a teacher (gamma and kl_weight are 0): there is nothing to keep.")

    def check_teaching(self) -> None:
        """Raises ValueError where a teacher cache is asked for that could not serve."""
        config = self.config
        cached = config.teacher.cache
        if cached.views < 0 or cached.resident_gib < 0:
            raise ValueError(
                f"teacher.cache.views = {cached.views}, teacher.cache.resident_gib = {cached.resident_gib}: expected "
                "neither to be negative."
            )
        if not cached.views:
            return
        if config.data.streaming:
            raise ValueError(
                "a teacher cache needs the images in memory: use teacher.cache.views=0 with data.streaming."
            )
        for stage in self.learners:
            if self.objective_of(stage).needs_teacher_on_adversarial:
                raise ValueError(
                    f"stage {stage} asks a teacher about attacked images, which depend on the student: a teacher cache "
                    "does not apply. Use teacher.cache.views=0, or another objective."
                )
        search, train = (self.augmentation_of(config[name]) for name in ("search", "train"))
        if search != train:
            raise ValueError(
                f"a teacher cache holds one augmentation, but search has {search} and training {train}; make them "
                "alike (train.cutout=0), or use teacher.cache.views=0."
            )

    def check_surroundings(self) -> None:
        super().check_surroundings()
        given = self.config.teacher.path or (self.workdir / "teacher" / CARD).exists()
        if self.config.teacher.cache.views and self.uses_teacher and given:
            fitted(self._cache_identity, self._cache_folder)

    @property
    def _cache_folder(self) -> Path:
        return Path(self.config.teacher.cache.dir or self.workdir / "teacher_cache")

    @functools.cached_property
    def _cache_identity(self) -> dict:
        """All that the content of the teacher cache depends on."""
        config, teacher, views = self.config, self.loaded_teacher, self._views
        taps = teacher.tap_names if any(objective.gamma for objective in self.objectives) else ()
        # How random numbers come of a seed depends on JAX, its version and settings; a few views tell.
        shape = (16, *self.dataset.image_shape)
        sample = jax.jit(views.show)(np.arange(np.prod(shape)).astype(np.uint8).reshape(shape), 0, np.arange(16))
        return {
            "teacher": teacher.identity,
            "data": {key: value for key, value in self.dataset.fingerprint.items() if key != "description"},
            "augmentation": dataclasses.asdict(views.augmentation),
            "seed": config.seed,
            "sample_of_views": hashlib.sha256(np.asarray(sample)).hexdigest(),
            "dtype": config.dtype,
            "maps": {"taps": list(taps), "size": config.attention.size} if taps else None,
        }

    @property
    def _views(self) -> steps.Views:
        config = self.config
        return steps.Views(self.augmentation_of(config.train), config.seed, config.teacher.cache.views)

    def finished_cache(self) -> TeacherCache:
        """The teacher cache, after making what is missing of it.

        Raises:
          ValueError: if its folder holds what another teacher said, or the same one of other views.
        """
        teacher, views = self.loaded_teacher, self._views
        cache = TeacherCache(
            self._cache_folder, self._cache_identity,
            images=len(self.dataset.train), views=views.count, num_classes=teacher.num_classes,
        )  # fmt: skip
        missing = len(cache.missing())
        state = f"{missing} shards to be made" if missing else "complete"
        size = f"{views.count} views of {cache.images} images, {cache.bytes / GIB:.3g} GiB"
        say(f"teacher cache in {cache.folder}: {size}, {state}.")
        program = steps.run_teacher_on_views(teacher.apply, views, cache.taps, cache.size)
        cache.build(asker(program, teacher.variables, self.dataset.train.images))
        return cache

    # -- training of a fixed network ----------------------------------------------------------------------

    def objective_of(self, stage: str) -> Objective:
        """The objective of a stage that trains a fixed network: a teacher, train, finetune, baseline_…

        Fine-tuning goes on from a trained network: its method needs no first epochs of another kind.
        """
        config = self.config
        changes = BASELINES.get(stage.removeprefix("baseline_"), {})
        if stage in TEACHERS:
            changes = dict(
                ALONE, adversarial=config.teacher.objective if stage == "teacher" else "none",
                steps=config.teacher.steps, start="own", step_size=config.adversarial.step_size, auxiliary=0.0,
                clean_pass=False,
            )  # fmt: skip
        elif stage == "finetune":
            changes = dict(adversarial=config.finetune.objective)
        elif stage == "baseline_no_distillation" and self.objective(config.train, **changes).needs_teacher:
            # A method of distillation without a teacher is nothing; trades is the closest kin of most.
            changes = dict(changes, adversarial="trades")
        objective = self.objective(config.train, **changes)
        if stage == "finetune" and objective.adversarial.first_epoch:
            method = dataclasses.replace(objective.adversarial, first_epoch=0)
            objective = dataclasses.replace(objective, adversarial=method)
        return objective

    @property
    def learners(self) -> tuple[str, ...]:
        """Stages that train the student or a baseline of it."""
        finetune = ("finetune",) if self.config.finetune.epochs else ()
        return ("train", *finetune, *(f"baseline_{name}" for name in self.config.baselines))

    @property
    def objectives(self) -> list[Objective]:
        """Of the search, and of every stage that trains the student or a baseline of it."""
        return [self.objective(self.config.search), *map(self.objective_of, self.learners)]

    @property
    def uses_teacher(self) -> bool:
        """Whether anything learns from a teacher."""
        return any(objective.needs_teacher for objective in self.objectives)

    @property
    def uses_natural_teacher(self) -> bool:
        """Whether anything learns from a second, naturally trained teacher."""
        return any(objective.needs_natural_teacher for objective in self.objectives)

    def _first_state(self, stage: str, variables, optimizer: Optimizer) -> State:
        section = self._section(stage)
        loss_state = self.objective_of(stage).adversarial.initial_loss_state()
        return State.create(variables, optimizer, loss_state=loss_state, average=section.weight_average > 0)

    def _section(self, stage: str) -> ConfigDict:
        """Where the configuration says how the weights of a stage are perturbed and averaged."""
        return self.config.teacher if stage in TEACHERS else self.config.train

    def _perturbation_of(self, stage: str) -> tuple[float, int]:
        """γ of the perturbed weights of a stage, 0 for none, and the first epoch that has them."""
        if stage == "natural_teacher":
            return 0.0, 0
        perturbation = self._section(stage).perturbation
        if stage.endswith("_awp"):
            perturbation = self.config.baseline_perturbation[stage.removeprefix("baseline_").removesuffix("_awp")]
        return perturbation.gamma, 0 if stage == "finetune" else perturbation.first_epoch

    def _train_network(
        self, stage: str, model, variables, recipe: ConfigDict, *, epochs: int, batch_size: int,
        what: str, tutors=None, drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        """Trains a fixed network to the end of its stage; its checkpoints hold the outcome."""
        objective, section = self.objective_of(stage), self._section(stage)
        teacher = self.loaded_teacher if objective.needs_teacher else None
        natural = self.loaded_natural_teacher if objective.needs_natural_teacher else None
        gamma, first_epoch = self._perturbation_of(stage)
        per_epoch = self.steps_per_epoch(batch_size)
        teaching = self.teaching(teacher, section, self.loader(stage, batch_size, what), per_epoch)
        if natural:
            teaching = teaching.beside(natural)
        loader = teaching.loader
        optimizer = make_optimizer(recipe, epochs=epochs, steps_per_epoch=per_epoch)
        step = steps.make_train_step(
            model, objective, teaching.augmentation, optimizer, tutors=tutors, teacher=teaching.apply,
            natural=teaching.natural,
            drop_path=steps.DropPath(drop_path, epochs, per_epoch) if drop_path else None,
            perturbation=steps.WeightPerturbation(gamma, first_epoch * per_epoch) if gamma else None,
            average=steps.WeightAverage(section.weight_average) if section.weight_average else None,
            steps_per_epoch=per_epoch,
        )  # fmt: skip
        with self.checkpoints(stage) as checkpoints, MetricsLog(self.workdir, stage) as log:
            fit(
                self.plan(stage, epochs, per_epoch, validate_from=self.config.validation.first_epoch),
                self._first_state(stage, variables, optimizer),
                steps.run_steps(
                    step, steps.TRAIN_METRICS, streaming=loader.streaming, cached_teacher=teaching.cached_teacher
                ),
                loader,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teaching.variables,
                validate=self.validate(predict(model), lambda state: state.outcome),
            )

    def _trained(self, stage: str, model, recipe: ConfigDict, which: str = "best") -> Restored:
        """The best checkpoint of a stage that trained `model`, by its score on held-out images, or the latest."""
        optimizer = make_optimizer(recipe, epochs=1, steps_per_epoch=1)
        images = jnp.zeros((1, *self.config.data.image_shape))
        template = jax.eval_shape(
            lambda: self._first_state(stage, dict(model.init(jax.random.key(0), images)), optimizer)
        )
        with self.checkpoints(stage) as checkpoints:
            restored = checkpoints.restore(template, which)
        if restored is None:
            raise ValueError(f"{self.workdir} holds no checkpoint of stage {stage!r}; run that stage first.")
        return restored

    # -- stages -----------------------------------------------------------------------------------------

    def teacher(self) -> None:
        """Trains the teachers that some stage learns from, where the configuration names none."""
        wanted = {
            "teacher": (self.uses_teacher, self.config.teacher.path),
            "natural_teacher": (self.uses_natural_teacher, self.config.teacher.natural_path),
        }
        for stage, (used, path) in wanted.items():
            if path:
                _ = self.loaded_teacher if stage == "teacher" else self.loaded_natural_teacher  # refuses now
            elif used:
                self._train_teacher(stage)
            elif stage == "teacher":
                say("no stage learns from a teacher (gamma and kl_weight are 0): none is trained.")

    def _train_teacher(self, stage: str) -> None:
        """Trains one of `TEACHERS` and writes its directory, which has the name of the stage."""
        config = self.config.teacher
        model = build_model(
            config.architecture,
            num_classes=self.config.data.num_classes,
            mean=tuple(self.config.data.mean),
            std=tuple(self.config.data.std),
            dtype=self.dtype,
            axis_name=steps.AXIS,
        )
        self._train_network(
            stage, model, self.initial_variables(model, stage), config.optimizer,
            epochs=config.epochs, batch_size=config.batch_size, what="teacher.batch_size",
        )  # fmt: skip
        best = self._trained(stage, model, config.optimizer)
        origin = {
            "objective": config.objective if stage == "teacher" else "none",
            "epsilon": self.config.adversarial.epsilon,
            "epochs": config.epochs,
            "step": best.step,
            "dataset": self.dataset.fingerprint,
            "seed": self.config.seed,
        }
        if len(self.validation):
            origin["validation"] = self.validate(predict(model), lambda state: state.outcome)(best.state)
        save_teacher(
            self.workdir / stage,
            model.clone(axis_name=None),
            best.state.outcome,
            architecture=config.architecture,
            image_shape=tuple(self.config.data.image_shape),
            origin=origin,
        )

    def searched_state(self, template: State) -> State:
        """The last state of the search, in the structure of `template`."""
        with self.checkpoints("search") as checkpoints:
            restored = checkpoints.restore(template)
        if restored is None:
            raise ValueError(f"{self.workdir} holds no checkpoint of the search; run that stage first.")
        return restored.state

    def searching_teacher(self) -> Teacher | None:
        """The teacher that the search learns from, if it learns from one."""
        return self.loaded_teacher if self.objective(self.config.search).needs_teacher else None

    def tutelage(self, selector: np.ndarray) -> Tutelage:
        """Reads tutors off the searched selector [n_s, n_t]."""
        if not self.objective(self.config.search).gamma:
            return Tutelage()
        teacher = self.loaded_teacher
        return Tutelage(
            tutors=tuple(teacher.tap_names[j] for j in np.asarray(objectives.choose(selector))),
            teacher_taps=teacher.tap_names,
            probabilities=jax.nn.softmax(selector),
            logits=selector,
            teacher=teacher.identity,
        )

    def save_architecture(self, architecture: Architecture, name: str = "architecture.json") -> None:
        """Writes an architecture into the work directory, with the size of its network."""
        size = count(self.network(architecture), architecture.image_shape)
        architecture.save(self.workdir / name, params=size.params, macs=size.macs)

    def train(self) -> None:
        """Trains the derived network, with the tutors the search chose."""
        self._train_student("train", self.architecture)

    def check_models(self) -> None:
        """Raises ValueError where evaluation.auto_attack names a model that this run will not have."""
        if unknown := sorted(set(self.config.evaluation.auto_attack) - set(self.subjects)):
            raise ValueError(
                f"evaluation.auto_attack names {', '.join(unknown)}; this run will have {', '.join(self.subjects)}."
            )

    def finetune(self) -> None:
        """Goes on from the trained network with TRADES or another method, where finetune.epochs asks for it."""
        config = self.config.finetune
        if config.epochs:
            start = self._trained("train", self.network(self.architecture), self.config.train.optimizer)
            self._train_student(
                "finetune", self.architecture, start=start.state.outcome, epochs=config.epochs,
                recipe=config.optimizer,
            )  # fmt: skip

    def baselines(self) -> None:
        """Trains what the student is compared with, alike but for what sets each baseline apart."""
        for name in self.config.baselines:
            self._train_student(f"baseline_{name}", self.baseline(name))
            forget_programs()

    def _train_student(self, stage: str, architecture: Architecture, *, start=None, epochs=0, recipe=None):
        config = self.config.train
        model = self.network(architecture)
        tutored = self.objective_of(stage).gamma
        self._train_network(
            stage, model, start or self.initial_student(architecture), recipe or config.optimizer,
            epochs=epochs or config.epochs, batch_size=config.batch_size, what="train.batch_size",
            tutors=self._tutors(architecture) if tutored else None, drop_path=config.get("drop_path", 0.0),
        )  # fmt: skip

    def _tutors(self, architecture: Architecture):
        tutelage = architecture.tutelage
        if not tutelage.tutors:
            raise ValueError(
                "train.gamma is not 0, but the architecture has no tutors: its search ran with gamma = 0. Search with "
                "gamma, or train with --config.train.gamma=0."
            )
        known = self.loaded_teacher.identity
        if tutelage.teacher != known:
            raise ValueError(
                f"the tutors of {self.workdir / 'architecture.json'} are layers of another teacher "
                f"({tutelage.teacher}); this one is {known}."
            )
        if self.config.derive.tutor == "sampled":
            return SampledTutors(architecture.taps, tutelage.teacher_taps, tuple(map(tuple, tutelage.logits)))
        return FixedTutors(architecture.taps, tutelage.tutors, len(tutelage.teacher_taps))

    def evaluate(self) -> None:
        """Attacks every model on the test set, once; finished models are kept in `evaluation/`."""
        config = self.config.evaluation
        parts = self.workdir / "evaluation"
        test = self.dataset.test
        if config.count:
            test = test.take(np.arange(min(config.count, len(test))))
        models = {}
        for name in self.subjects:
            model = self.subject(name)
            if not (parts / f"{name}.json").exists():
                evaluator = self.evaluator(model.predict)
                scores, strongest = self._evaluate_model(evaluator, model, test)
                if name == "student" and jax.process_index() == 0:
                    self._save_examples(evaluator, model.variables, test, strongest)
                scores.write(parts / f"{name}.json")
            models[name] = ModelScores.read(parts / f"{name}.json")
            if name in config.auto_attack:
                attacks = {**models[name].attacks, AUTO_ATTACK: self._auto_attack(model)}
                models[name] = dataclasses.replace(models[name], attacks=attacks)
                forget_programs()
        Evaluation(models, self.dataset.fingerprint, "linf", self.config.seed, versions()).write(
            self.workdir / "evaluation.json"
        )

    def _auto_attack(self, model: EvaluatedModel) -> AttackScore:
        """AutoAttack at the headline radius, in the folder where `rnas attack` would put it and find it."""
        config = self.config.evaluation
        threat = Threat.of(config.epsilons[0])
        settings = Settings(batch_size=config.batch_size)
        summary = assess_dataset(
            model, self.dataset, threat, settings, self.workdir / "attacks", count=config.count or None,
            report=write_attack_page,
        )  # fmt: skip
        if broken := summary.failed:
            say(f"warning: sanity checks {', '.join(broken)} of AutoAttack on {model.name} failed; see the report.")
        return AttackScore(**vars(summary.robust), epsilon=threat.epsilon, settings={"version": summary.version})

    def _evaluate_model(self, evaluator: Evaluator, model: EvaluatedModel, test):
        config = self.config.evaluation
        total = 1 + len(config.curve) + len(config.epsilons) * len(table_attacks(config.pgd_100_restarts))
        with Progress(f"evaluate {model.name}", total, unit="attack") as progress:
            done = iter(range(total))
            outcome = evaluate(
                evaluator,
                model,
                test,
                epsilons=config.epsilons,
                curve=config.curve,
                pgd_100_restarts=config.pgd_100_restarts,
                tick=lambda attack: progress.update(next(done)),
            )
            progress.update(total)
            return outcome

    def _save_examples(self, evaluator: Evaluator, variables, test, strongest: np.ndarray, most: int = 12) -> None:
        """Keeps a few PGD-100 images: fooled ones first, of different classes as far as there are."""
        clean = test.images.astype(np.float32) / np.float32(255.0)
        changed = np.abs(strongest - clean).max(axis=(1, 2, 3)) > 0
        order = np.argsort(~changed, kind="stable")[: 20 * most]
        _, firsts = np.unique(test.labels[order], return_index=True)
        rows = np.concatenate([order[np.sort(firsts)], np.delete(order, firsts)])[:most]
        predictions = [evaluator.predictions(variables, images[rows]) for images in (clean, strongest)]
        ExampleImages(clean[rows], strongest[rows], test.labels[rows], *predictions).write(
            self.workdir / "adversarial.npz"
        )

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the models that can be evaluated once the run is through its training."""
        last = ("student_last",) if self.config.evaluation.last else ()
        baselines = tuple(f"baseline_{baseline}" for baseline in self.config.baselines)
        return ("student", *last, *baselines, *(("teacher",) if self.uses_teacher else ()))

    def subject(self, name: str) -> EvaluatedModel:
        """A trained model of this run, with what an evaluation must know of it.

        Raises:
          ValueError: another name, or a model that is not trained yet.
        """
        if name not in self.subjects:
            raise ValueError(f"this run has no model {name!r}; it has {', '.join(self.subjects)}.")
        if name == "teacher":
            return evaluated_teacher(self.loaded_teacher, tuple(self.config.data.image_shape), source=str(self.workdir))
        architecture = self.architecture
        if name.startswith("baseline_"):
            architecture = self.baseline(name.removeprefix("baseline_"))
        network = self.network(architecture)
        if name == "student":
            variables = self._student_variables(network)
        else:
            stage, which = ("train", "latest") if name == "student_last" else (name, "best")
            variables = self._trained(stage, network, self.config.train.optimizer, which).state.outcome
        size = count(network, architecture.image_shape)
        kind, label = kind_and_label(name, getattr(architecture, "origin", None), tuple(METHODS))
        return EvaluatedModel(
            predict=predict(network),
            variables=variables,
            num_classes=self.config.data.num_classes,
            name=name,
            kind=kind,
            label=label,
            hash=content_hash(variables),
            source=str(self.workdir),
            architecture=architecture.name,
            params=size.params,
            macs=size.macs,
        )

    def _student_variables(self, student):
        """The fine-tuned network if it scores higher on held-out images, else the trained one."""
        trained = self._trained("train", student, self.config.train.optimizer)
        if not self.config.finetune.epochs:
            return trained.state.outcome
        tuned = self._trained("finetune", student, self.config.finetune.optimizer)
        score = self.validate(predict(student), lambda state: state.outcome)
        if score is None or score(tuned.state)["score"] >= score(trained.state)["score"]:
            return tuned.state.outcome
        return trained.state.outcome

    def report(self) -> None:
        """Writes `report.html` and its pictures."""
        if jax.process_index() == 0:
            write_report(self.workdir)

    def summarise(self) -> None:
        """Prints the headline figures, where there are any."""
        path = self.workdir / "evaluation.json"
        if path.exists():
            say(headline(read_json(path)))
        if (self.workdir / "report.html").exists():
            say(f"report: {self.workdir / 'report.html'}")
            if "student" not in self.config.evaluation.auto_attack:
                epsilon = self.config.evaluation.epsilons[0]
                say(f"AutoAttack, with self-checks: rnas attack --workdir={self.workdir} --epsilon={epsilon}")


def headline(evaluation: dict) -> str:
    """A small table: one line a model, clean and under the attacks at the headline radius; '-' where it met none."""
    names = [name for name, value in evaluation.items() if isinstance(value, dict) and "accuracy" in value]
    width = max(len(model) for model in evaluation["models"]) + 2
    rows = [("accuracy, %", names)]
    for model, figures in evaluation["models"].items():
        rows.append((model, [f"{100 * figures[name]['accuracy']:.2f}" if name in figures else "-" for name in names]))
    return "\n".join(
        title.ljust(width)
        + "".join(cell.rjust(max(10, len(name) + 2)) for name, cell in zip(names, cells, strict=True))
        for title, cells in rows
    )

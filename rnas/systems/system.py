"""The stages that every system shares: a teacher, training of what the search found, its twins, evaluation, report.

A system says what its supernet is, how it is searched, and what is read off it; everything else is the same code.
"""

import abc
import dataclasses
import sys

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import objectives
from rnas.components import Components, predict
from rnas.evaluation import Evaluator, Settings, Subject, Threat, assess_dataset, evaluate, failed
from rnas.evaluation.protocol import suite
from rnas.files import read_json, write_arrays, write_json
from rnas.layers.counting import count
from rnas.models import build_model
from rnas.record import versions
from rnas.report import write_report
from rnas.spaces.architecture import Architecture, Tutelage
from rnas.subjects import teacher_subject
from rnas.systems.teaching import GIB, Teaching, live, recalled
from rnas.teachers import Teacher, content_hash, save_teacher
from rnas.teachers.cache import TeacherCache, asker
from rnas.training import steps
from rnas.training.checkpoints import Restored
from rnas.training.joint import FixedTutors, Objective, SampledTutors
from rnas.training.log import MetricsLog
from rnas.training.loop import fit
from rnas.training.optimizers import make_optimizer
from rnas.training.progress import Progress
from rnas.training.state import State

# The same student trained without parts of the joint objective.
TWINS = {
    "no_distillation": dict(gamma=0.0, kl_weight=0.0),
    "plain": dict(gamma=0.0, kl_weight=0.0, adversarial="none"),
}


def say(message: str) -> None:
    """Prints to standard error, on the first process only."""
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)


class System(Components, abc.ABC):
    """The stages of one configuration over one work directory."""

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

    def twin(self, name: str) -> tuple[Architecture, dict]:
        """What the twin `name` is: its architecture, and how its objective differs from the student's."""
        changes = dict(TWINS[name])
        if name == "no_distillation" and self.config.train.objective == "rslad":
            changes["adversarial"] = "trades"  # rslad without a teacher is nothing; trades is its closest kin
        return self.architecture, changes | {"view": "clean"}

    def initial_student(self, architecture: Architecture):
        """Weights that training starts from. Twins of the same network start where the student does."""
        return self.initial_variables(self.network(architecture), "train")

    def augmentation_of(self, stage: ConfigDict) -> steps.Augmentation:
        """How the images of a stage are varied."""
        del stage  # the same everywhere
        return steps.Augmentation(self.config.data.crop_padding, self.config.data.flip)

    # -- what stages learn from ---------------------------------------------------------------------------

    def teaching(self, teacher: Teacher | None, stage: ConfigDict, feed, steps_per_epoch: int) -> Teaching:
        """How a stage is taught: by `teacher` in every step, or by the teacher cache, which is finished first."""
        cached = self.config.teacher.cache
        if teacher is None or not cached.views:
            return live(teacher, self.augmentation_of(stage), feed)
        cache = self.finished_cache()
        return recalled(cache, self._views, feed, steps_per_epoch=steps_per_epoch, resident_gib=cached.resident_gib)

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
        for name in ("search", "train"):
            if self.objective(config[name]).asks_about_attacked:
                raise ValueError(
                    f"{name}.objective={config[name].objective!r} asks the teacher about attacked images, which depend "
                    "on the student: a teacher cache does not apply. Use teacher.cache.views=0, or another objective."
                )
        search, train = (self.augmentation_of(config[name]) for name in ("search", "train"))
        if search != train:
            raise ValueError(
                f"a teacher cache holds one augmentation, but search has {search} and training {train}; make them "
                "alike (train.cutout=0), or use teacher.cache.views=0."
            )

    @property
    def _views(self) -> steps.Views:
        config = self.config
        return steps.Views(self.augmentation_of(config.train), config.seed, config.teacher.cache.views)

    def finished_cache(self) -> TeacherCache:
        """The teacher cache, after making what is missing of it.

        Raises:
          ValueError: if its folder holds what another teacher said, or the same one of other views.
        """
        config, teacher, views = self.config, self.loaded_teacher, self._views
        taps = teacher.tap_names if any(self.objective(config[name]).gamma for name in ("search", "train")) else ()
        identity = {
            "teacher": {"architecture": teacher.architecture, "hash": teacher.hash},
            "classes": list(config.data.class_ids),
            "data": {key: value for key, value in self.dataset.fingerprint.items() if key != "description"},
            "augmentation": dataclasses.asdict(views.augmentation),
            "seed": config.seed,
            "dtype": config.dtype,
            "maps": {"taps": list(taps), "size": config.attention.size} if taps else None,
        }
        cache = TeacherCache(
            config.teacher.cache.dir or self.workdir / "teacher_cache", identity, images=len(self.dataset.train),
            views=views.count, num_classes=teacher.num_classes,
        )  # fmt: skip
        missing = len(cache.missing())
        state = f"{missing} shards to be made" if missing else "complete"
        size = f"{views.count} views of {cache.images} images, {cache.bytes / GIB:.3g} GiB"
        say(f"teacher cache in {cache.folder}: {size}, {state}.")
        program = steps.run_views(teacher.apply, views, cache.taps, cache.size)
        cache.build(asker(program, teacher.variables, self.dataset.train.images))
        return cache

    # -- training of a fixed network ----------------------------------------------------------------------

    def _train_network(
        self, stage: str, model, objective: Objective, variables, recipe: ConfigDict, section: ConfigDict, *,
        epochs: int, batch_size: int, what: str, teacher: Teacher | None = None, tutors=None, drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        """Trains a fixed network to the end of its stage; its checkpoints hold the outcome."""
        per_epoch = self.steps_per_epoch(batch_size)
        teaching = self.teaching(teacher, section, self.feed(stage, batch_size, what), per_epoch)
        feed = teaching.feed
        optimizer = make_optimizer(recipe, epochs=epochs, steps_per_epoch=per_epoch)
        step = steps.make_train_step(
            model, objective, teaching.augmentation, optimizer, teacher=teaching.apply, tutors=tutors,
            drop_path=steps.DropPath(drop_path, epochs, per_epoch) if drop_path else None,
        )  # fmt: skip
        with self.checkpoints(stage) as checkpoints, MetricsLog(self.workdir, stage) as log:
            fit(
                self.plan(stage, epochs, per_epoch, validate_from=self.config.validation.first_epoch),
                State.create(variables, optimizer),
                steps.run_steps(step, steps.TRAIN_METRICS, streaming=feed.streaming, recall=teaching.recall),
                feed,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teaching.variables,
                validate=self.validate(predict(model), lambda state: state.variables),
            )

    def _trained(self, stage: str, model, recipe: ConfigDict, which: str = "best") -> Restored:
        """The best checkpoint of a stage that trained `model`, by its score on held-out images, or the latest."""
        optimizer = make_optimizer(recipe, epochs=1, steps_per_epoch=1)
        images = jnp.zeros((1, *self.config.data.image_shape))
        template = jax.eval_shape(lambda: State.create(dict(model.init(jax.random.key(0), images)), optimizer))
        with self.checkpoints(stage) as checkpoints:
            restored = checkpoints.restore(template, which)
        if restored is None:
            raise ValueError(f"{self.workdir} holds no checkpoint of stage {stage!r}; run that stage first.")
        return restored

    # -- stages -----------------------------------------------------------------------------------------

    def teacher(self) -> None:
        """Trains the teacher, unless the configuration names one or no stage learns from it."""
        config = self.config.teacher
        if config.path:
            _ = self.loaded_teacher  # refuses now what could not be used later
            return
        if not self.uses_teacher:
            say("no stage learns from a teacher (gamma and kl_weight are 0): none is trained.")
            return
        model = build_model(
            config.architecture,
            num_classes=self.config.data.num_classes,
            mean=tuple(self.config.data.mean),
            std=tuple(self.config.data.std),
            dtype=self.dtype,
            axis_name=steps.AXIS,
        )
        objective = self.objective(
            self.config.train, adversarial=config.objective, steps=config.steps, start="own",
            step_size=self.config.adversarial.step, gamma=0.0, kl_weight=0.0, auxiliary=0.0, clean_pass=False,
            view="clean",
        )  # fmt: skip
        self._train_network(
            "teacher", model, objective, self.initial_variables(model, "teacher"), config.optimizer,
            config, epochs=config.epochs, batch_size=config.batch_size,
            what="teacher.batch_size",
        )  # fmt: skip
        best = self._trained("teacher", model, config.optimizer)
        origin = {
            "objective": config.objective,
            "epsilon": self.config.adversarial.epsilon,
            "epochs": config.epochs,
            "step": best.step,
            "dataset": self.dataset.fingerprint,
            "seed": self.config.seed,
        }
        if len(self.validation):
            origin["validation"] = self.validate(predict(model), lambda state: state.variables)(best.state)
        save_teacher(
            self.workdir / "teacher",
            model.clone(axis_name=None),
            best.state.variables,
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
            teacher={"architecture": teacher.architecture, "hash": teacher.hash},
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
        """Goes on from the trained network with TRADES, where finetune.epochs asks for it."""
        config = self.config.finetune
        if config.epochs:
            start = self._trained("train", self.network(self.architecture), self.config.train.optimizer)
            self._train_student(
                "finetune", self.architecture, start=start.state.variables, epochs=config.epochs,
                recipe=config.optimizer, adversarial="trades",
            )  # fmt: skip

    def twins(self) -> None:
        """Trains what the student is compared with, alike but for what sets each twin apart."""
        for name in self.config.twins:
            architecture, changes = self.twin(name)
            self._train_student(f"twin_{name}", architecture, **changes)

    def _train_student(self, stage: str, architecture: Architecture, *, start=None, epochs=0, recipe=None, **changes):
        config = self.config.train
        model = self.network(architecture)
        objective = self.objective(config, **changes)
        self._train_network(
            stage, model, objective, start or self.initial_student(architecture), recipe or config.optimizer,
            config, epochs=epochs or config.epochs, batch_size=config.batch_size,
            what="train.batch_size", teacher=self.loaded_teacher if objective.needs_teacher else None,
            tutors=self._tutors(architecture) if objective.gamma else None, drop_path=config.get("drop_path", 0.0),
        )  # fmt: skip

    def _tutors(self, architecture: Architecture):
        tutelage = architecture.tutelage
        if not tutelage.tutors:
            raise ValueError(
                "train.gamma is not 0, but the architecture has no tutors: its search ran with gamma = 0. Search with "
                "gamma, or train with --config.train.gamma=0."
            )
        known = self.loaded_teacher
        if tutelage.teacher.get("hash") != known.hash:
            raise ValueError(
                f"the tutors of {self.workdir / 'architecture.json'} are layers of another teacher "
                f"({tutelage.teacher}); this one has hash {known.hash}."
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
        evaluators, results = {}, {}
        for name in self.subjects:
            subject = self.subject(name)
            if subject.predict not in evaluators:
                evaluators[subject.predict] = self.evaluator(subject.predict)
            evaluator = evaluators[subject.predict]
            if not (parts / f"{name}.json").exists():
                figures, strongest = self._evaluate_model(name, evaluator, subject.variables, test)
                if name == "student" and jax.process_index() == 0:
                    self._save_examples(evaluator, subject.variables, test, strongest)
                write_json(parts / f"{name}.json", figures)
            size = {"params": subject.params, "macs": subject.macs}
            results[name] = {**read_json(parts / f"{name}.json"), **size}
            if name in config.auto_attack:
                results[name]["auto_attack"] = self._auto_attack(subject)
        write_json(
            self.workdir / "evaluation.json",
            {
                **results["student"],
                "models": results,
                "dataset": self.dataset.fingerprint,
                "threat_model": "linf",
                "seed": self.config.seed,
                "versions": versions(),
            },
        )

    def _auto_attack(self, subject: Subject) -> dict:
        """AutoAttack at the headline radius, in the folder where `rnas attack` would put it and find it."""
        config = self.config.evaluation
        threat = Threat.of(config.epsilons[0])
        settings = Settings(batch_size=config.batch_size)
        summary = assess_dataset(
            subject, self.dataset, threat, settings, self.workdir / "attacks", count=config.count or None
        )
        if broken := failed(summary):
            say(f"warning: self-checks {', '.join(broken)} of AutoAttack on {subject.name} failed; see the report.")
        return {"epsilon": threat.epsilon, "version": summary["version"], **summary["robust"]}

    def _evaluate_model(self, name: str, evaluator: Evaluator, variables, test):
        config = self.config.evaluation
        total = 1 + len(config.curve) + len(config.epsilons) * len(suite(config.pgd_100_restarts))
        with Progress(f"evaluate {name}", total, unit="part") as progress:
            done = iter(range(total))
            outcome = evaluate(
                evaluator,
                variables,
                test,
                epsilons=config.epsilons,
                curve=config.curve,
                pgd_100_restarts=config.pgd_100_restarts,
                tick=lambda part: progress.update(next(done)),
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
        write_arrays(
            self.workdir / "adversarial.npz",
            {
                "images": clean[rows],
                "adversarial": strongest[rows],
                "labels": test.labels[rows],
                "clean_predictions": predictions[0],
                "adversarial_predictions": predictions[1],
            },
        )

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the models that can be evaluated once the run is through its training."""
        last = ("student_last",) if self.config.evaluation.last else ()
        twins = tuple(f"twin_{twin}" for twin in self.config.twins)
        return ("student", *last, *twins, *(("teacher",) if self.uses_teacher else ()))

    def subject(self, name: str) -> Subject:
        """A trained model of this run, with what an evaluation must know of it.

        Raises:
          ValueError: another name, or a model that is not trained yet.
        """
        if name not in self.subjects:
            raise ValueError(f"this run has no model {name!r}; it has {', '.join(self.subjects)}.")
        if name == "teacher":
            return teacher_subject(self.loaded_teacher, tuple(self.config.data.image_shape), source=str(self.workdir))
        architecture = self.architecture
        if name.startswith("twin_"):
            architecture, _ = self.twin(name.removeprefix("twin_"))
        network = self.network(architecture)
        if name == "student":
            variables = self._student_variables(network)
        else:
            stage, which = ("train", "latest") if name == "student_last" else (name, "best")
            variables = self._trained(stage, network, self.config.train.optimizer, which).state.variables
        size = count(network, architecture.image_shape)
        return Subject(
            predict=predict(network),
            variables=variables,
            num_classes=self.config.data.num_classes,
            name=name,
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
            return trained.state.variables
        tuned = self._trained("finetune", student, self.config.finetune.optimizer)
        score = self.validate(predict(student), lambda state: state.variables)
        if score is None or score(tuned.state)["score"] >= score(trained.state)["score"]:
            return tuned.state.variables
        return trained.state.variables

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
    """A small table: one line a model, clean and under the attacks at the headline radius."""
    names = [name for name, value in evaluation.items() if isinstance(value, dict) and "accuracy" in value]
    width = max(len(model) for model in evaluation["models"]) + 2
    lines = ["accuracy, %".ljust(width) + "".join(name.rjust(10) for name in names)]
    for model, figures in evaluation["models"].items():
        cells = (f"{100 * figures[name]['accuracy']:.2f}".rjust(10) for name in names)
        lines.append(model.ljust(width) + "".join(cells))
    return "\n".join(lines)

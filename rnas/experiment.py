"""A run: stages over one work directory, each resumable, each skipped once complete.

teacher → search → derive → train (→ finetune) → twins → evaluate → report. Every stage reads what the ones
before it left in the directory, so a run that was stopped goes on where it stood, and the test set is read by
`evaluate` alone.
"""

import functools
from pathlib import Path
import sys
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import objectives
from rnas.components import TWINS, Components, predict
from rnas.configuration import record_config
from rnas.data.order import permutation
from rnas.evaluation import Evaluator, Subject, evaluate
from rnas.evaluation.protocol import suite
from rnas.files import read_json, write_arrays, write_json
from rnas.models import build_model
from rnas.models.fbnet import FBNet
from rnas.record import RunRecord, versions
from rnas.report import write_report
from rnas.spaces import fbnet
from rnas.spaces.architecture import Architecture
from rnas.subjects import teacher_subject
from rnas.teachers import Teacher, content_hash, save_teacher
from rnas.training import steps
from rnas.training.checkpoints import Restored
from rnas.training.feeds import alternating_rows
from rnas.training.joint import FixedTutors, Objective, SampledTutors
from rnas.training.log import MetricsLog
from rnas.training.loop import fit
from rnas.training.optimizers import make_optimizer
from rnas.training.progress import Progress
from rnas.training.search import Alternation, Sampling, SearchCost
from rnas.training.state import State

STAGES = ("teacher", "search", "derive", "train", "finetune", "twins", "evaluate", "report")


def run(config: ConfigDict, workdir: str | Path, *, command: str, until: str = "report") -> None:
    """Runs the stages up to `until`, skipping what is complete.

    Raises:
      ValueError: for a configuration that cannot work, or one that is not the directory's.
    """
    experiment = Experiment(config, Path(workdir))
    wanted = STAGES[: STAGES.index(until) + 1]
    record = RunRecord(workdir, command)
    complete = all(record.is_complete(stage) for stage in wanted)
    if not complete:
        # Before anything is written: a mistake found here leaves no work directory that insists on it.
        experiment.check_surroundings()
    record_config(workdir, config)
    if complete:
        _say(f"{workdir}: the run is complete up to {until!r}; nothing to do. Report: {Path(workdir) / 'report.html'}")
        return
    for stage in wanted:
        if not record.is_complete(stage):
            with record.stage(stage):
                getattr(experiment, stage)()
    experiment.summarise()


def _say(message: str) -> None:
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)


class Experiment(Components):
    """The stages of one configuration over one work directory."""

    def _train_network(
        self, stage: str, model, objective: Objective, variables, recipe: ConfigDict, *, epochs: int,
        batch_size: int, what: str, teacher: Teacher | None = None, tutors=None,
    ) -> None:  # fmt: skip
        """Trains a fixed network to the end of its stage; its checkpoints hold the outcome."""
        feed = self.feed(stage, batch_size, what)
        per_epoch = self.steps_per_epoch(batch_size)
        optimizer = make_optimizer(recipe, epochs=epochs, steps_per_epoch=per_epoch)
        step = steps.make_train_step(
            model, objective, self.augmentation, optimizer, teacher=teacher and teacher.apply, tutors=tutors
        )
        with self.checkpoints(stage) as checkpoints, MetricsLog(self.workdir, stage) as log:
            fit(
                self.plan(stage, epochs, per_epoch),
                State.create(variables, optimizer),
                steps.run_steps(step, steps.TRAIN_METRICS, streaming=feed.streaming),
                feed,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teacher and teacher.variables,
                validate=self.validate(predict(model), lambda state: state.variables),
            )

    def _trained(self, stage: str, model, recipe: ConfigDict) -> Restored:
        """The best checkpoint of a stage that trained `model`, by its score on held-out images."""
        optimizer = make_optimizer(recipe, epochs=1, steps_per_epoch=1)
        images = jnp.zeros((1, *self.config.data.image_shape))
        template = jax.eval_shape(lambda: State.create(dict(model.init(jax.random.key(0), images)), optimizer))
        with self.checkpoints(stage) as checkpoints:
            restored = checkpoints.restore(template, "best")
        if restored is None:
            raise ValueError(f"{self.workdir} holds no checkpoint of stage {stage!r}; run that stage first.")
        return restored

    # -- stages -----------------------------------------------------------------------------------------

    def teacher(self) -> None:
        """Trains the teacher, unless the configuration names one."""
        config = self.config.teacher
        if config.path:
            _ = self.loaded_teacher  # refuses now what could not be used later
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
            self.config.train, adversarial=config.objective, steps=config.steps, gamma=0.0, kl_weight=0.0, view="clean"
        )
        self._train_network(
            "teacher", model, objective, self.initial_variables(model, "teacher"), config.optimizer,
            epochs=config.epochs, batch_size=config.batch_size, what="teacher.batch_size",
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

    def search(self) -> None:
        """Trains the supernet and its architecture in turn."""
        config = self.config
        stage = config.search
        objective = self.objective(stage)
        teacher = self.loaded_teacher if objective.needs_teacher else None
        per_epoch = self.steps_per_epoch(stage.batch_size)
        alternation = Alternation(per_epoch, config.arch_fraction, config.arch_warmup_epochs)
        rows_at = None
        if config.split == "disjoint":
            images = len(self.dataset.train)
            rows = permutation(images, config.seed, zlib.crc32(b"search/split"))
            cut = int(config.arch_fraction * images)
            rows_at = alternating_rows(
                alternation,
                self.order("search", rows[cut:], stage.batch_size),
                self.order("search", rows[:cut], stage.batch_size),
            )
        feed = self.feed("search", stage.batch_size, "search.batch_size", rows_at)
        recipe = dict(epochs=stage.epochs, steps_per_epoch=per_epoch)
        optimizer = make_optimizer(stage.optimizer, **recipe)
        arch_optimizer = make_optimizer(stage.arch_optimizer, **recipe)
        soft = config.budget.mode == "soft"
        search_cost = SearchCost(
            self.cost_of(config.cost.kind),
            config.cost.alpha,
            config.cost.beta,
            budget=self.cost_of(config.budget.kind) if soft else None,
            target=config.budget.target or 0.0,
            weight=config.budget.weight,
        )
        sampling = Sampling(config.tau.start, config.tau.decay, config.tau.min, config.selector.hard, per_epoch)
        supernet = self.student()
        step = steps.make_search_step(
            supernet, objective, self.augmentation, optimizer, arch_optimizer, sampling, alternation, search_cost,
            teacher=teacher and teacher.apply, teacher_taps=teacher.tap_names if teacher else (),
        )  # fmt: skip

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return supernet.apply(network, images, variables["masks"], train=False)[0]

        def derived(state):
            """The supernet at the widths it would be cut to now."""
            widths = fbnet.derive_widths(self.space, jax.device_get(state.architecture["widths"]))
            masks = fbnet.channel_masks(self.space, fbnet.one_hot_widths(self.space, widths))
            return {**state.variables, "masks": masks}

        with self.checkpoints("search") as checkpoints, MetricsLog(self.workdir, "search") as log:
            fit(
                self.plan("search", stage.epochs, per_epoch),
                self._search_state(supernet, teacher),
                steps.run_steps(step, steps.SEARCH_METRICS, streaming=feed.streaming),
                feed,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teacher and teacher.variables,
                validate=self.validate(predict, derived),
            )

    def _search_state(self, supernet: FBNet, teacher: Teacher | None) -> State:
        stage = self.config.search
        architecture = {
            "widths": fbnet.initial_width_logits(self.space),
            "tutors": jnp.zeros((len(supernet.taps), len(teacher.taps) if teacher else 1)),
        }
        weights = make_optimizer(stage.optimizer, epochs=1, steps_per_epoch=1)
        arch = make_optimizer(stage.arch_optimizer, epochs=1, steps_per_epoch=1)
        return State.create(self.initial_variables(supernet, "search"), weights, architecture, arch)

    def _searched(self) -> State:
        """The last state of the search: temperature and architecture have annealed together."""
        teacher = self.loaded_teacher if self.objective(self.config.search).needs_teacher else None
        template = jax.eval_shape(lambda: self._search_state(self.student(), teacher))
        with self.checkpoints("search") as checkpoints:
            restored = checkpoints.restore(template)
        if restored is None:
            raise ValueError(f"{self.workdir} holds no checkpoint of the search; run that stage first.")
        return restored.state

    def derive(self) -> None:
        """Reads widths and tutors off the searched logits."""
        config = self.config
        state = self._searched()
        logits = state.architecture["widths"]
        widths = fbnet.derive_widths(self.space, logits)
        if config.budget.mode == "hard":
            widths = fbnet.narrow_to_budget(self.space, logits, config.budget.target, self.cost_of(config.budget.kind))
        found = {}
        objective = self.objective(config.search)
        if objective.gamma:
            teacher = self.loaded_teacher
            tutors = state.architecture["tutors"]
            found = dict(
                tutors=tuple(teacher.tap_names[j] for j in np.asarray(objectives.choose(tutors))),
                teacher_taps=teacher.tap_names,
                tutor_probabilities=jax.nn.softmax(tutors),
                tutor_logits=tutors,
                teacher={"architecture": teacher.architecture, "hash": teacher.hash},
            )
        Architecture(
            space=self.space,
            widths=widths,
            image_shape=tuple(config.data.image_shape),
            num_classes=config.data.num_classes,
            width_probabilities=[jax.nn.softmax(theta) for theta in logits],
            **found,
        ).save(self.workdir / "architecture.json", conv_bias=config.conv_bias, mask_expansion=config.mask_expansion)

    def train(self) -> None:
        """Trains the derived network, with the tutors the search chose."""
        self._train_student("train", self.config.train, self.config.train.epochs, self.config.train.optimizer)

    def finetune(self) -> None:
        """Goes on from the trained network with TRADES, where finetune.epochs asks for it."""
        config = self.config.finetune
        if config.epochs:
            model = self.student(self.architecture.widths)
            start = self._trained("train", model, self.config.train.optimizer).state.variables
            self._train_student(
                "finetune", self.config.train, config.epochs, config.optimizer, start=start, adversarial="trades"
            )

    def twins(self) -> None:
        """Trains the same network from the same initial weights without parts of the objective."""
        for twin in self.config.twins:
            changes = dict(TWINS[twin])
            if twin == "no_distillation" and self.config.train.objective == "rslad":
                changes["adversarial"] = "trades"  # rslad without a teacher is nothing; trades is its closest kin
            train = self.config.train
            self._train_student(f"twin_{twin}", train, train.epochs, train.optimizer, view="clean", **changes)

    def _train_student(self, stage, config, epochs, recipe, *, start=None, **changes) -> None:
        architecture = self.architecture
        model = self.student(architecture.widths)
        objective = self.objective(config, **changes)
        teacher = self.loaded_teacher if objective.needs_teacher else None
        tutors = self._tutors(architecture) if objective.gamma else None
        if start is None:
            # Twins start where the student does: only the objective tells them apart.
            start = self.initial_variables(model, "train")
            if self.config.derive.init == "supernet":
                start = fbnet.slice_variables(
                    self.space,
                    self._searched().variables,
                    architecture.widths,
                    mask_expansion=self.config.mask_expansion,
                )
        self._train_network(
            stage, model, objective, start, recipe, epochs=epochs, batch_size=config.batch_size,
            what="train.batch_size", teacher=teacher, tutors=tutors,
        )  # fmt: skip

    def _tutors(self, architecture: Architecture):
        if not architecture.tutors:
            raise ValueError(
                "train.gamma is not 0, but the architecture has no tutors: its search ran with gamma = 0. Search with "
                "gamma, or train with --config.train.gamma=0."
            )
        known = self.loaded_teacher
        if architecture.teacher.get("hash") != known.hash:
            raise ValueError(
                f"the tutors of {self.workdir / 'architecture.json'} are layers of another teacher "
                f"({architecture.teacher}); this one has hash {known.hash}."
            )
        if self.config.derive.tutor == "sampled":
            logits = tuple(map(tuple, architecture.tutor_logits))
            return SampledTutors(self.space.taps, architecture.teacher_taps, logits)
        return FixedTutors(self.space.taps, architecture.tutors, len(architecture.teacher_taps))

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
    def _uses_teacher(self) -> bool:
        return any(self.objective(self.config[stage]).needs_teacher for stage in ("search", "train"))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the models that can be evaluated once the run is through its training."""
        twins = tuple(f"twin_{twin}" for twin in self.config.twins)
        return ("student", *twins, *(("teacher",) if self._uses_teacher else ()))

    def subject(self, name: str) -> Subject:
        """A trained model of this run, with what an evaluation must know of it.

        Raises:
          ValueError: another name, or a model that is not trained yet.
        """
        if name not in self.subjects:
            raise ValueError(f"this run has no model {name!r}; it has {', '.join(self.subjects)}.")
        if name == "teacher":
            return teacher_subject(self.loaded_teacher, tuple(self.config.data.image_shape), source=str(self.workdir))
        if name == "student":
            variables = self._student_variables()
        else:
            variables = self._trained(name, self._network, self.config.train.optimizer).state.variables
        architecture, mask_expansion = self.architecture, self.config.mask_expansion
        return Subject(
            predict=self._predict,
            variables=variables,
            num_classes=self.config.data.num_classes,
            name=name,
            hash=content_hash(variables),
            source=str(self.workdir),
            architecture=f"{self.config.space} {architecture.widths}",
            params=architecture.cost("params", conv_bias=self.config.conv_bias, mask_expansion=mask_expansion),
            macs=architecture.cost("macs", mask_expansion=mask_expansion),
        )

    @functools.cached_property
    def _network(self) -> FBNet:
        return self.student(self.architecture.widths)

    @functools.cached_property
    def _predict(self):
        return predict(self._network)

    def _student_variables(self):
        """The fine-tuned network if it scores higher on held-out images, else the trained one."""
        student = self._network
        trained = self._trained("train", student, self.config.train.optimizer)
        if not self.config.finetune.epochs:
            return trained.state.variables
        tuned = self._trained("finetune", student, self.config.finetune.optimizer)
        score = self.validate(self._predict, lambda state: state.variables)
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
            _say(headline(read_json(path)))
        if (self.workdir / "report.html").exists():
            _say(f"report: {self.workdir / 'report.html'}")
            epsilon = self.config.evaluation.epsilons[0]
            _say(f"AutoAttack, with self-checks: rnas attack --workdir={self.workdir} --epsilon={epsilon}")


def headline(evaluation: dict) -> str:
    """A small table: one line a model, clean and under the attacks at the headline radius."""
    names = [name for name, value in evaluation.items() if isinstance(value, dict) and "accuracy" in value]
    width = max(len(model) for model in evaluation["models"]) + 2
    lines = ["accuracy, %".ljust(width) + "".join(name.rjust(10) for name in names)]
    for model, figures in evaluation["models"].items():
        cells = (f"{100 * figures[name]['accuracy']:.2f}".rjust(10) for name in names)
        lines.append(model.ljust(width) + "".join(cells))
    return "\n".join(lines)

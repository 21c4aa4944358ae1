"""The parts of an assessment in their order, batch by batch through a ledger."""

from collections import defaultdict
from collections.abc import Callable, Sequence
import dataclasses
import datetime
from pathlib import Path
import sys
import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from rnas.artifacts.wilson import interval
from rnas.attacks import checks as verdicts
from rnas.attacks.auto_attack import Plan
from rnas.attacks.inputs import SLACK
from rnas.attacks.packing import batch_sizes, concurrent_batches, side_by_side, take
from rnas.attacks.parts import Part, in_turn, judge_draws, judge_once, parts_of
from rnas.attacks.result import AttackResult
from rnas.attacks.square import SquareState
from rnas.data.datasets import Split
from rnas.evaluation import probes
from rnas.evaluation.examples import Examples
from rnas.evaluation.ledger import CARRY, Ledger
from rnas.evaluation.runner import Runner, pixels
from rnas.evaluation.transfer import Transfer
from rnas.training.progress import Progress

if TYPE_CHECKING:
    from rnas.evaluation.assessment import EvaluatedModel, Settings, Threat

CURVE = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255)  # radii / 255, in Linf
CURVE_OF_OTHERS = (0, 0.25, 0.5, 1, 2, 4)  # times the radius of the threat, in L2 and L1
PROBED = 1000  # examples that the self-checks attack, at most: the first ones that are right
PASSES = 5  # of the first batch, which must agree


class Campaign:
    """One evaluation under way. `run` is all there is to call."""

    def __init__(
        self,
        subject: "EvaluatedModel",
        split: Split,
        threat: "Threat",
        settings: "Settings",
        plan: Plan,
        ledger: Ledger,
        folder: Path,
    ):
        self._subject, self._split, self._threat, self._settings = subject, split, threat, settings
        self._plan, self._ledger, self._folder = plan, ledger, folder
        sizes = batch_sizes(settings.batch_size, jax.device_count())
        self._runner = Runner(subject.predict, sizes, what="batch size")
        # A random model is probed with its randomness held still.
        held = jax.random.key(settings.seed)
        still = subject.predict if plan.eot == 1 else lambda variables, images: subject.predict(variables, images, held)
        self._still = self._runner if plan.eot == 1 else Runner(still, sizes, what="batch size")
        self._root = jax.random.key(settings.seed)
        self._seconds = 0.0
        self._forwards = 0.0

    # -- running ----------------------------------------------------------------------------------------

    def _measure(
        self,
        name: str,
        program: Callable,
        rows: np.ndarray,
        settings: Any = None,
        *,
        code: int = 0,
        cost: float = 1.0,
        split: Split | None = None,
        runner: Runner | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a program that answers with a dictionary, through the ledger; empty arrays for no rows."""
        runner, split = runner or self._runner, split or self._split
        key = jax.random.fold_in(self._root, code)

        def run(batch):
            return runner.run_batch(self._subject.variables, split, program, batch, key, settings)

        return self._kept(name, rows, run, cost)

    def _kept(self, name: str, rows: np.ndarray, run: Callable, cost: float) -> dict[str, np.ndarray]:
        def batches(left):
            return side_by_side(run, self._runner.pack(left, of=len(rows)))

        def finished(examples):
            self._forwards += examples * cost
            self._progress.update(round(self._forwards), round(self._expected), **{"standing": self._standing})

        before = self._forwards
        found = self._ledger.measured(name, rows, batches, finished)
        self._forwards = before + len(rows) * cost  # what was finished before a stop counts too
        self._seconds += float(np.sum(found.get("seconds", 0.0)))
        return defaultdict(lambda: np.zeros(0, bool), found)

    def _attack(self, part: Part, rows: np.ndarray, carry: Any) -> tuple[AttackResult, Any]:
        """One part on `rows`, its successes recounted; `carry` is what the part before left of these rows."""
        settings = part.at(self._threat.epsilon)
        key = jax.random.fold_in(self._root, part.code)

        def run(batch):
            if part.continues and carry is None:
                raise ValueError(
                    f"{self._folder} holds damaged work: {part.label} cannot go on, because what the part before left "
                    f"is gone. Remove {self._folder / 'ledger'} to start anew."
                )
            held = take(carry, np.searchsorted(rows, batch))
            result, left = self._runner.run_batch(
                self._subject.variables, self._split, part.program, batch, key, settings, held
            )
            again = self._recount(batch[result.success], result.images[result.success])
            success = result.success.copy()
            success[result.success] = again["wrong"]
            found = {"claimed": result.success, "success": success, "loss": result.loss, "queries": result.queries}
            # Zeros where the clean image stands, because they take no space on disk.
            found["images"] = np.where(success[:, None, None, None], result.images, 0).astype(np.float32)
            return found | {f"{CARRY}{number}": leaf for number, leaf in enumerate(jax.tree.leaves(left))}

        found = self._kept(self._name(part), rows, run, part.cost)
        leaves = [found[name] for name in sorted(found) if name.startswith(CARRY)]
        if part.continues:
            self._ledger.forget_carry(self._name(dataclasses.replace(part, number=part.number - 1)))
        self._claimed[rows] |= found["claimed"]
        self._recounted[rows] &= found["success"] | ~found["claimed"]
        result = AttackResult(found["images"], found["success"], found["loss"], found["queries"], found["success"])
        self._part_seconds[part.attack] += float(np.sum(found["seconds"]))
        return result, SquareState(*leaves) if leaves else None

    def _recount(self, rows: np.ndarray, images: np.ndarray, runner: Runner | None = None) -> dict[str, np.ndarray]:
        """What a pass of its own says of `images` [n,H,W,C] that belong to `rows`."""
        if not len(rows):
            return defaultdict(lambda: np.zeros(0, bool))
        split = Split(images, self._split.labels[rows], self._split.ids[rows])
        everyone = np.arange(len(rows))
        return (runner or self._runner).run(self._subject.variables, split, self._judge, everyone, self._root, None)

    @property
    def _judge(self) -> Callable:
        return judge_draws if self._plan.eot > 1 else judge_once

    def _name(self, part: Part) -> str:
        first = next(index for index, other in enumerate(self._plan.parts) if other.attack == part.attack)
        return f"{first:03d}_{part.attack}_{part.number:03d}"

    # -- the whole --------------------------------------------------------------------------------------

    def run(self, transfers: Sequence[Transfer]) -> dict[str, Any]:
        """Everything `attack.json` says that is measured here."""
        count = len(self._split)
        everyone = np.arange(count)
        self._claimed, self._recounted = np.zeros(count, bool), np.ones(count, bool)
        self._part_seconds = defaultdict(float)
        self._standing, self._expected = 1.0, float(count)
        forward = self._time_of_a_pass()
        with Progress(f"attack {self._subject.name}", count, unit="forward") as self._progress:
            clean = self._measure("clean", self._judge, everyone, split=self._split)
            right = np.flatnonzero(~clean["wrong"].astype(bool))
            examples = Examples.of(self._split, clean, dict.fromkeys(part.attack for part in self._plan.parts))
            self._announce(count, len(right), forward)
            checks = [self._check_outputs()]
            rows, images = self._attacks(examples, right)
            curve = self._curve(right)
            transferred = [self._transferred(*numbered, everyone) for numbered in enumerate(transfers)]
            checks += self._probes(right, examples, transferred, curve)
            stored, tables = self._store(examples, images, rows)
            checks.insert(-1, stored)
            self._progress.update(round(self._forwards), round(self._forwards))
        return {
            "clean": self._share(len(right)),
            "attacks": rows,
            "robust": self._share(int(np.sum(~examples.wrong))),
            "uint8": tables,
            "curve": {"attack": self._curve_part().attack, "points": curve},
            "transfer": [
                {"source": transfer.source, "model": transfer.model, **self._share(int(np.sum(~wrong)))}
                for transfer, wrong in zip(transfers, transferred, strict=True)
            ],
            "checks": sorted(checks, key=lambda check: check.letter),
            "warnings": self._substitutions(),
            "seconds": round(self._seconds, 1),
            "cost": {
                "forward_seconds": forward,
                "estimated_forwards": round(self._estimate),
                "forwards": round(self._forwards),
                "compilations": sum(runner.compilations for runner in {self._runner, self._still}),
            },
        }

    def _attacks(self, examples: Examples, right: np.ndarray) -> tuple[list[dict], np.ndarray]:
        """Runs the plan; returns a row for each attack and the stored images, clean where nothing fooled."""
        count, images = len(self._split), pixels(self._split.images).copy()
        table = []
        wrong = examples.wrong
        for attack in dict.fromkeys(part.attack for part in self._plan.parts):
            parts = [part for part in self._plan.parts if part.attack == attack]
            alone = examples.clean_wrong.copy() if self._settings.individually else wrong.copy()
            before = alone.copy()
            for part, rows, result in in_turn(parts, self._attack, alone):
                if result is None:
                    continue
                new = rows[result.success & ~wrong[rows]]
                images[new] = result.images[result.success & ~wrong[rows]]
                examples.add(part.attack, rows, result, new)
                wrong[new] = True
                self._standing = float(np.mean(~wrong))
                self._say(f"{part.label}: fooled {int(np.sum(result.success))} of {len(rows)}, {np.sum(~wrong)} stand")
            sole = self._settings.individually or not table
            table.append(
                {
                    "name": attack,
                    "settings": parts[0].settings,
                    "attacked": int(np.sum(~before)),
                    "fooled": int(np.sum(alone & ~before)),
                    "cumulative": self._share(int(np.sum(~wrong))),
                    "alone": self._share(int(np.sum(~alone))) if sole else None,
                    "seconds": round(self._part_seconds[attack], 1),
                    "queries": int(np.sum(examples.queries_of[attack])),
                }
            )
        examples.finish(images, self._recount(np.arange(count), images))
        return table, images

    def _curve_part(self) -> Part:
        return parts_of("apgd_ce" if self._threat.norm == "l1" else "pgd_20", self._threat.norm, 2)[0]

    def _curve(self, right: np.ndarray) -> list[dict]:
        """Accuracy at each radius, measured anew: what fell at a smaller one is attacked again."""
        epsilon, part = self._threat.epsilon, self._curve_part()
        if self._threat.norm == "linf":
            radii = sorted({*(number / 255 for number in CURVE), epsilon})
        else:
            radii = sorted({share * epsilon for share in CURVE_OF_OTHERS})
        points = []
        for radius in radii:
            fooled = self._probe(f"curve {radius:.6f}", part, right, radius)
            points.append({"epsilon": radius, **self._share(len(right) - int(np.sum(fooled)))})
        return points

    def _probe(self, name: str, part: Part, rows: np.ndarray, epsilon: float | None = None) -> np.ndarray:
        """Whether an attack that is no part of the plan fools each of `rows`."""
        settings = part.at(self._threat.epsilon if epsilon is None else epsilon)
        program = probes.success_of(part.program)
        found = self._measure(name, program, rows, settings, code=part.code, cost=part.cost, runner=self._still)
        return found["success"].astype(bool)

    def _transferred(self, number: int, transfer: Transfer, everyone: np.ndarray) -> np.ndarray:
        """Whether the images of another model fool this one, bool [N]."""
        split = dataclasses.replace(self._split, images=transfer.images)
        return self._measure(f"transfer {number}", self._judge, everyone, split=split)["wrong"].astype(bool)

    # -- self-checks ------------------------------------------------------------------------------------

    def _check_outputs(self) -> verdicts.Check:
        """A, on the first batch: repeated, and among other neighbours."""
        first = np.arange(len(self._split))[: self._settings.batch_size]
        if not len(first):
            none = np.zeros((0, self._subject.num_classes))
            return verdicts.check_outputs(np.zeros((PASSES, *none.shape)), none, np.zeros(0, int))

        def logits(rows):
            run = self._still.run_batch(self._subject.variables, self._split, probes.logits_of, rows, self._root, None)
            return run["logits"]

        passes = np.stack([logits(first) for _ in range(PASSES)])
        # Every other image: halves in order would meet, on each of several devices, whom they met before. What a
        # random model draws for an image depends on its place in the batch, so there is nothing to compare.
        company = passes[0].copy()
        for some in (slice(0, None, 2), slice(1, None, 2)) if self._plan.eot == 1 else ():
            if len(first[some]):
                company[some] = logits(first[some])
        return verdicts.check_outputs(passes, company, self._split.labels[first])

    def _probes(
        self, right: np.ndarray, examples: Examples, transferred: list[np.ndarray], curve: list[dict]
    ) -> list[verdicts.Check]:
        norm, count = self._threat.norm, len(self._split)
        settings = self._plan.parts[0].at(self._threat.epsilon)
        some = right[:PROBED]

        def probe(name, program, rows):
            return self._measure(name, program, rows, settings, cost=probes.COSTS[name], runner=self._still)

        health = probe("gradients", probes.gradients(norm), some)
        rise = probe("rise", probes.rise(norm), some)
        stable = probe("stability", probes.stability, some)
        probed = np.setdiff1d(np.arange(count), np.setdiff1d(right, some))  # wrong from the start counts as fooled
        fooled = {role: self._probe_all(name, some, probed, count) for role, name in self._order.items()}
        gradient = examples.fooled_by_gradient | examples.clean_wrong | self._gradients_after_square(examples)
        gradient[probed] |= np.any([np.zeros(len(probed), bool), *fooled.values()], axis=0)
        gradient[some] |= rise["success"].astype(bool)
        fooled["white_box"] = gradient[probed]
        # Of a random model one draw proves nothing: noise would be lucky, claims are recounted over many.
        random = self._plan.eot > 1
        standing = np.flatnonzero(~gradient)[: 0 if random else PROBED]
        claimed = self._claimed[:0] if random else self._claimed
        noise = probe("noise", probes.noise(norm), standing)["success"].astype(bool)
        if np.any(examples.queries_of.get("square", 0)):
            fooled["square"] = (examples.success["square"] | examples.clean_wrong)[probed]
        if transferred:
            fooled["transfer"] = np.any(transferred, axis=0)[probed]
        accuracies = [point["accuracy"] for point in curve]
        clean = accuracies[0] if random else len(right) / max(count, 1)
        return [
            verdicts.check_gradients(*(health[name] for name in ("zero", "broken", "vanished"))),
            verdicts.check_noise(noise, np.zeros(len(noise), bool)),
            verdicts.check_order(fooled),
            verdicts.check_monotone(
                [point["epsilon"] for point in curve], accuracies, clean, self._subject.num_classes, norm,
            ),
            verdicts.check_finished(*(rise[name] for name in ("start", "late", "last"))),
            verdicts.check_silent(claimed, self._recounted[: len(claimed)]),
            verdicts.check_stability(stable["change"], stable["slope"]),
        ]  # fmt: skip

    @property
    def _order(self) -> dict[str, str]:
        return {} if self._threat.norm == "l1" else probes.ORDER

    def _gradients_after_square(self, examples: Examples) -> np.ndarray:
        """Whether the gradient attacks of the plan fool what Square had fooled before any of them was tried, bool [N].

        Only so can Square be said to find what they miss.
        """
        fooled = np.zeros(len(self._split), bool)
        untried = examples.success.get("square", fooled) & ~examples.met_gradient
        for part in self._plan.parts:
            standing = np.flatnonzero(untried & ~fooled)
            if part.attack != "square" and len(standing):
                fooled[standing] = self._probe(f"after square {self._name(part)}", part, standing)
        return fooled

    def _probe_all(self, name: str, rows: np.ndarray, probed: np.ndarray, count: int) -> np.ndarray:
        """Fooled [len(probed)] by any part of attack `name`, run on `rows`; the others were wrong anyway."""
        fooled = np.ones(count, bool)
        fooled[rows] = False
        for part in parts_of(name, self._threat.norm, self._subject.num_classes):
            standing = rows[~fooled[rows]]
            fooled[standing] = self._probe(f"order {name} {part.number}", part, standing)
        return fooled[probed]

    # -- the outcome ------------------------------------------------------------------------------------

    def _store(self, examples: Examples, images: np.ndarray, table: list[dict]) -> tuple[verdicts.Check, dict]:
        """Writes images and examples, reads the images back, and judges them in a fresh program of another size."""
        if jax.process_index() == 0:
            examples.write(self._folder, images, pixels(self._split.images))
        rows, stored, clean = examples.read_images(self._folder)
        devices = jax.device_count()
        other = Runner(
            self._subject.predict, [max(1, self._settings.batch_size * 3 // 4 // devices) * devices], what=""
        )
        again = self._recount(rows, stored, other)
        labels = self._split.labels[rows]
        # Of a random model the verdict is that of many draws.
        predictions = np.where(again["wrong"], -1, labels) if self._plan.eot > 1 else again["prediction"]
        check = verdicts.check_stored(
            clean, stored, predictions, labels, epsilon=self._threat.epsilon, norm=self._threat.norm
        )
        rounded = np.round(stored * 255).astype(np.float32) / np.float32(255)
        fooling = self._recount(rows, rounded)["wrong"]
        radius = self._threat.epsilon
        outside = examples.lengths(rounded, clean)[self._threat.norm] > radius + SLACK * max(1.0, radius)
        figures = {"fooled": len(rows), "still_fooling": int(np.sum(fooling)), "outside_ball": int(np.sum(outside))}
        return check, figures

    def _share(self, hits: int) -> dict[str, Any]:
        count = len(self._split)
        return {"accuracy": hits / max(count, 1), "count": count, "interval": interval(hits, count)}

    def _substitutions(self) -> list[str]:
        if "(K=" not in self._plan.version:
            return []
        return [f"AutoAttack {self._plan.version}: with so few classes a loss of the original is not defined."]

    # -- words ------------------------------------------------------------------------------------------

    def _time_of_a_pass(self) -> float:
        """Seconds of a forward pass of one image, in a full batch, compiled."""
        first = np.arange(len(self._split))[: self._settings.batch_size]
        if not len(first):
            return 0.0
        for _ in range(2):
            began = time.perf_counter()
            self._runner.run_batch(self._subject.variables, self._split, self._judge, first, self._root, None)
        return (time.perf_counter() - began) / len(first)

    def _announce(self, count: int, right: int, forward: float) -> None:
        probed = min(right, PROBED)
        attacks = sum(part.cost for part in self._plan.parts)
        order = (part for name in self._order.values() for part in parts_of(name, self._threat.norm, 2))
        checks = sum(probes.COSTS.values()) + sum(part.cost for part in order)
        curve = len(CURVE) + 1 if self._threat.norm == "linf" else len(CURVE_OF_OTHERS)
        self._estimate = right * (attacks + curve * self._curve_part().cost) + probed * checks
        self._expected = count + self._estimate
        minutes = self._estimate * forward / concurrent_batches() / 60
        self._say(
            f"{count} images, {right} classified correctly. At most {self._estimate:,.0f} forward passes of one image, "
            f"{minutes:,.1f} min at {1e3 * forward:.3g} ms each; fooled images drop out."
        )

    def _say(self, line: str) -> None:
        if jax.process_index():
            return
        print(line, file=sys.stderr, flush=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "attack.log", "a", encoding="utf-8") as log:
            log.write(f"{datetime.datetime.now().isoformat(timespec='seconds')} {line}\n")

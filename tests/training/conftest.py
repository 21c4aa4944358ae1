"""A study small enough to be trained within a test: two blocks, 6×6 images, a teacher that is a formula."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas.data.order import Order
from rnas.layers import ConvBatchNorm
from rnas.models.fbnet import FBNet
from rnas.objectives.methods import Trades
from rnas.spaces import fbnet
from rnas.training import steps
from rnas.training.feeds import ResidentFeed, replicate
from rnas.training.joint import FixedTutors, Objective
from rnas.training.optimizers import Optimizer
from rnas.training.search import Alternation, Sampling, SearchCost
from rnas.training.state import State

SHAPE, BATCH = (6, 6, 1), 8
AUGMENTATION = steps.Augmentation(1, True)
LEVELS = np.array([40, 98, 156, 214]) / 255  # the brightness of each class


class Brightness(nn.Module):
    """Reads the class off the four central pixels, which no crop by one pixel reaches; its taps are random."""

    taps = ("first", "second")

    @nn.compact
    def __call__(self, images, *, train=False):
        first = nn.relu(nn.Conv(4, (3, 3), name="first")(images - 0.5))
        second = nn.relu(nn.Conv(6, (3, 3), strides=2, name="second")(first))
        brightness = images[:, 2:4, 2:4].mean((1, 2, 3))
        return 60 * (2 * brightness[:, None] * LEVELS - LEVELS**2), {"first": first, "second": second}


class OneLayer(nn.Module):
    """The smallest student: one convolution with BatchNorm, for tests that compile much else."""

    taps = ("conv",)

    @nn.compact
    def __call__(self, images, *, train=False):
        conv = nn.relu(ConvBatchNorm(6, axis_name=steps.AXIS, name="conv")(images - 0.5, train=train))
        return nn.Dense(len(LEVELS), name="classifier")(conv.mean((1, 2))), {"conv": conv}


class Study:
    """What search and training need, at their smallest; what compiles slowly is made once."""

    axis = steps.AXIS
    batch_size = BATCH
    most = 20  # steps of a dispatch
    steps_per_epoch = 5  # four weight steps, one architecture step
    space = fbnet.Space(
        "mini",
        (fbnet.Stage(8, 1, 1, 2, step=4, expansion=2), fbnet.Stage(8, 1, 2, 2, step=4, expansion=2)),
        stem_width=8,
        stem_stride=1,
    )
    cost = staticmethod(
        functools.partial(fbnet.cost, space, image_size=SHAPE[0], channels=SHAPE[2], num_classes=len(LEVELS))
    )
    root = jax.random.key(7)
    student = OneLayer()

    def __init__(self):
        random = np.random.default_rng(0)
        self.labels = np.arange(40, dtype=np.int32) % len(LEVELS)
        noise = random.integers(-25, 26, (40, *SHAPE))
        self.images = (255 * LEVELS[self.labels][:, None, None, None] + noise).astype(np.uint8)
        teacher = Brightness()
        self.teacher = functools.partial(teacher.apply, train=False)
        self.teacher_taps = teacher.taps
        self.teacher_variables = self.initial(teacher, 3)
        # Plain SGD: Adam would turn the rounding errors of a vanishing gradient into whole steps.
        self.optimizer = Optimizer(optax.trace(0.9), optax.constant_schedule(0.05))

    def initial(self, model: nn.Module, seed: int):
        return jax.device_get(dict(jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, *SHAPE)))))

    def supernet(self) -> FBNet:
        return FBNet(self.space, num_classes=len(LEVELS), mean=(0.5,), std=(0.25,), momentum=0.9, axis_name=steps.AXIS)

    def objective(self, adversarial="trades", **changes) -> Objective:
        fields = dict(epsilon=8 / 255, step_size=4 / 255, steps=2, gamma=1.0, kl_weight=1.0, size=4)
        return Objective(Trades(beta=3.0) if adversarial == "trades" else adversarial, **{**fields, **changes})

    def sampling(self) -> Sampling:
        return Sampling(start=5.0, decay=0.045, minimum=0.0, hard=False, steps_per_epoch=self.steps_per_epoch)

    def search_step(self, objective=None, optimizer=None, augmentation=AUGMENTATION) -> steps.Step:
        optimizer = optimizer or self.optimizer
        return steps.make_search_step(
            self.supernet(), objective or self.objective(), augmentation, optimizer, optimizer, self.sampling(),
            Alternation(self.steps_per_epoch), SearchCost(self.cost, 0.2, 0.5),
            teacher=self.teacher, teacher_taps=self.teacher_taps,
        )  # fmt: skip

    def search_state(self, seed=0, optimizer=None) -> State:
        """A fresh state on the host, with logits that differ, so that nothing hides in symmetry."""
        random = np.random.default_rng(seed)
        architecture = {
            "widths": tuple(random.normal(size=2).astype(np.float32) for _ in self.space.blocks),
            "tutors": random.normal(size=(len(self.space.taps), len(self.teacher_taps))).astype(np.float32),
        }
        optimizer = optimizer or self.optimizer
        variables = self.initial(self.supernet(), seed)
        return jax.device_get(State.create(variables, optimizer, architecture, optimizer))

    def train_step(self, objective=None, optimizer=None, augmentation=AUGMENTATION) -> steps.Step:
        return steps.make_train_step(
            self.student, objective or self.objective(), augmentation, optimizer or self.optimizer,
            teacher=self.teacher, tutors=FixedTutors(self.student.taps, ("second",), 2),
        )  # fmt: skip

    def train_state(self, seed=0, optimizer=None) -> State:
        return jax.device_get(State.create(self.initial(self.student, seed), optimizer or self.optimizer))

    def rows_at(self, first: int, count: int) -> np.ndarray:
        return Order(np.arange(len(self.images)), BATCH, 11).rows_at(first, count)

    def batch(self, step: int, replicas: int):
        """Images and labels of a step, [replicas, BATCH / replicas, …], as the steps below take them."""
        rows = self.rows_at(step, 1).reshape(replicas, -1)
        return self.images[rows], self.labels[rows]

    def feed(self, rows_at=None) -> ResidentFeed:
        return ResidentFeed(
            self.images, self.labels, rows_at or self.rows_at, batch_size=BATCH, most=self.most, what="batch_size"
        )

    def over_replicas(self, step: steps.Step):
        """`step` on virtual replicas of one device: as many as the leading axis of images and labels is long."""
        return jax.vmap(step, in_axes=(None, 0, 0, None, None), out_axes=None, axis_name=steps.AXIS)

    @functools.cached_property
    def search_run(self):
        """The whole search step, many a dispatch, on all devices."""
        return steps.run_steps(self.search_step(), steps.SEARCH_METRICS)

    @functools.cached_property
    def train_run(self):
        """The step of the fixed student, likewise."""
        return steps.run_steps(self.train_step(), steps.TRAIN_METRICS)

    def search(self, state: State, count: int, feed: ResidentFeed | None = None):
        """Returns (state, metric sums) on the host after `count` steps of the search from `state`."""
        return self.run(self.search_run, state, count, feed)

    def train(self, state: State, count: int):
        """The same for the fixed student."""
        return self.run(self.train_run, state, count)

    def run(self, run, state, count, feed=None):
        """Returns (state, metric sums) on the host after `count` steps of `run`, from `state`."""
        block = (feed or self.feed()).dispatch(int(state.step), count)
        state, teacher = replicate((state, self.teacher_variables))
        return jax.device_get(run(state, *block, np.int32(count), teacher, self.root))


@pytest.fixture(scope="session")
def study() -> Study:
    return Study()

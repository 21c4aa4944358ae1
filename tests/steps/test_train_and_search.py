"""Steps of search and training: what each may change, what replicas share, and what one dispatch does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import objectives, steps
from rnas.models.width_network import slice_variables
from rnas.spaces import width_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State
from rnas.training.loaders import replicate

WEIGHTS = ("params", "batch_stats", "opt_state")
ARCHITECTURE = ("architecture", "architecture_opt_state")
PLAIN = steps.Augmentation(0, False)
# With this optimiser a step subtracts the gradient.
DESCENT = Optimizer(optax.identity(), optax.constant_schedule(1.0))


def parts(state, names):
    return {name: getattr(state, name) for name in names}


def unmoved(before, after):
    """Paths of the leaves that did not change, without biases ahead of a BatchNorm, which nothing can move."""
    pairs = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for (path, old), new in pairs if np.all(old == new))
    return [name for name in names if not name.endswith("conv/bias")]


# -- the search step, whole: trades, distillation, augmentation, four devices ---------------------------


def test_a_weight_step_leaves_the_architecture_alone(study):
    before = study.search_state()
    after, _ = study.search(before, 1)
    assert after.step == 1
    chex.assert_trees_all_equal(parts(before, ARCHITECTURE), parts(after, ARCHITECTURE))
    assert not unmoved(parts(before, WEIGHTS), parts(after, WEIGHTS))


def test_an_architecture_step_leaves_the_weights_alone(study):
    before = study.search_state().replace(step=np.array(4, np.int32))
    after, _ = study.search(before, 1)
    assert after.step == 5
    chex.assert_trees_all_equal(parts(before, WEIGHTS), parts(after, WEIGHTS))
    assert not unmoved(parts(before, ARCHITECTURE), parts(after, ARCHITECTURE))


def test_one_dispatch_of_many_steps_equals_many_dispatches(study):
    start = study.search_state()
    whole, sums = study.search(start, 7)
    state, total = start, []
    for count in (1, 4, 2):
        state, each = study.search(state, count)
        total.append(each)
    chex.assert_trees_all_equal(whole, state)
    assert sums.pop("nonfinite_step") == steps.NEVER and sums["count"] == 7 * study.batch_size
    for name, value in sums.items():
        np.testing.assert_allclose(value, sum(each[name] for each in total), rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_one_replica_of_eight_equals_four_of_two(study):
    # Not with trades: its inner gradient is a difference of almost equal probabilities, so rounding decides the sign
    # of some pixels, and thereby a whole step of the attack.
    step = study.search_step(study.objective("pgd_at"))
    start = study.search_state().replace(step=np.array(3, np.int32))
    run = steps.run_steps(step, steps.WidthSearchStep.metrics)
    expected, sums = study.run(run, start, 2)  # a weight step, then an architecture step, each with an attack
    one = jax.jit(study.over_replicas(step))
    state, total = start, []
    for number in (3, 4):
        state, each = one(state, *study.batch(number, 1), study.teacher_variables, study.root)
        total.append(each)
    chex.assert_trees_all_close(state, expected, atol=2e-5, rtol=1e-4)
    for name in (*steps.WidthSearchStep.metrics, "count"):
        np.testing.assert_allclose(sums[name], sum(each[name] for each in total), rtol=1e-4, atol=1e-5, err_msg=name)
    moved = optax.tree.norm(optax.tree.sub(state.params, start.params))
    assert moved > 0.1  # far more than the tolerance


def test_one_batch_is_learnt(study):
    loader = study.loader(lambda first, count: np.tile(study.rows_at(0, 1), (count, 1)))
    state = study.search_state()
    history = []
    for count in (4, 16, 20, 20, 20, 20, 16, 4):
        state, sums = study.search(state, count, loader)
        history.append({name: sums[name] / sums["count"] for name in sums})
    first, last = history[0], history[-1]
    assert last["accuracy"] == last["adversarial_accuracy"] == 1.0
    for name, share in (("classification", 0.5), ("kl", 0.3), ("attention", 0.8), ("loss", 0.6)):
        assert last[name] < share * first[name], (name, first[name], last[name])


def test_metrics_of_a_search_step(study):
    _, sums = study.search(study.search_state().replace(step=np.array(16, np.int32)), 1)
    mean = {name: sums[name] / sums["count"] for name in sums}
    np.testing.assert_allclose(mean["temperature"], 5.0 * np.exp(-0.045 * 3), rtol=1e-6)
    np.testing.assert_allclose(mean["learning_rate"], 0.05, rtol=1e-6)
    np.testing.assert_allclose(mean["cost_factor"], 0.1 * np.log(mean["cost"]), rtol=1e-6)
    low, high = study.cost(study.space.smallest), study.cost(study.space.largest)
    assert low < mean["cost"] < high
    total = mean["classification"] + mean["kl"] + mean["attention"]
    np.testing.assert_allclose(mean["loss"], total * mean["cost_factor"], rtol=1e-5)


# -- gradients ------------------------------------------------------------------------------------------


def test_without_teacher_and_attack_the_gradient_is_that_of_cost_factor_times_entropy(study):
    objective = study.objective("none", gamma=0.0, kl_weight=0.0)
    step = jax.jit(study.over_replicas(study.search_step(objective, DESCENT, PLAIN)))
    start = study.search_state(optimizer=DESCENT)
    supernet = study.supernet().clone(axis_name=None)

    @jax.jit
    def reference(params, logits, images, labels, number):
        key = jax.random.split(jax.random.fold_in(study.root, number), 4)[0]

        def loss(params, logits):
            samples = [
                jax.nn.softmax((theta + jax.random.gumbel(jax.random.fold_in(key, block), theta.shape)) / 5.0)
                for block, theta in enumerate(logits)
            ]
            widths = [sample @ np.array([8.0, 4.0]) for sample in samples]
            variables = {"params": params, "batch_stats": start.batch_stats}
            masks = [jnp.concatenate([jnp.ones(4), jnp.full(4, sample[0])]) for sample in samples]
            (scores, _), changed = supernet.apply(variables, images, masks, train=True, mutable=["batch_stats"])
            entropy = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
            return 0.2 * jnp.log(study.cost(widths) ** 0.5) * entropy.mean(), changed["batch_stats"]

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, logits)

    for number in (0, 4):
        before = start.replace(step=np.array(number, np.int32))
        images, labels = study.batch(number, 1)
        after, _ = step(before, images, labels, study.teacher_variables, study.root)
        (weights, widths), stats = reference(
            before.params, before.architecture["widths"], images[0] / np.float32(255), labels[0], number
        )
        moved = optax.tree.sub(parts(before, ("params", "architecture")), parts(after, ("params", "architecture")))
        if number == 0:
            chex.assert_trees_all_close(moved["params"], weights, atol=1e-5, rtol=1e-4)
            chex.assert_trees_all_close(after.batch_stats, stats, atol=1e-5, rtol=1e-5)
        else:
            chex.assert_trees_all_close(moved["architecture"]["widths"], widths, atol=1e-6, rtol=1e-4)
            assert np.all(moved["architecture"]["tutors"] == 0)
            assert min(np.abs(theta).max() for theta in widths) > 1e-4


# -- what the steps share with the attack ---------------------------------------------------------------


def test_attack_and_loss_see_one_sample(study, monkeypatch):
    seen = {}

    def attack(network, objective, images, labels, keys, teacher_outputs):
        seen["masks"] = network.sample
        return images, network.batch_stats

    def terms(network, objective, batch, attention_loss):
        apart = sum(jnp.sum(jnp.abs(mine - theirs)) for mine, theirs in zip(network.sample, seen["masks"], strict=True))
        channels = sum(jnp.sum(mask) for mask in network.sample)
        zeros = jnp.zeros(len(batch.labels))
        return {"loss": zeros, "apart": zeros + apart, "channels": zeros + channels}, network.batch_stats, None

    monkeypatch.setattr(objectives, "adversarial_images", attack)
    monkeypatch.setattr(objectives, "joint_terms", terms)
    step = jax.jit(study.over_replicas(study.search_step(study.objective(gamma=0.0, kl_weight=0.0))))
    channels = set()
    for number in range(5):
        state = study.search_state().replace(step=np.array(number, np.int32))
        _, sums = step(state, *study.batch(number, 4), study.teacher_variables, study.root)
        assert sums["apart"] == 0
        channels.add(round(float(sums["channels"]), 3))
    assert len(channels) == 5  # every step draws anew


@pytest.mark.parametrize("kind", ["search", "train"])
def test_only_an_adversarial_objective_attacks(study, monkeypatch, kind):
    def attack(*args):
        raise RuntimeError("adversarial")

    monkeypatch.setattr(objectives, "adversarial_images", attack)
    make, state = getattr(study, f"{kind}_step"), getattr(study, f"{kind}_state")()

    def trace(objective):
        step = study.over_replicas(make(study.objective(objective)))
        jax.eval_shape(step, state, *study.batch(0, 4), study.teacher_variables, study.root)

    trace("none")
    with pytest.raises(RuntimeError, match="adversarial"):
        trace("pgd_at")


# -- keys -----------------------------------------------------------------------------------------------


def keys_of(step, replicas, examples):
    keys = jax.vmap(lambda _: steps.step_keys(jax.random.key(5), step, examples), axis_name=steps.AXIS)(
        jnp.arange(replicas)
    )
    return jax.tree.map(lambda key: np.asarray(jax.random.key_data(key)), keys)


def test_replicas_share_the_architecture_keys_and_no_others():
    keys = keys_of(3, replicas=4, examples=2)
    for shared in (keys.architecture, keys.tutors):
        assert shared.shape == (4, 2) and np.all(shared == shared[0])
    for own in (keys.attack, keys.augment):
        assert len(np.unique(own.reshape(8, 2), axis=0)) == 8
    # Where the batch is cut does not matter.
    whole = keys_of(3, replicas=1, examples=8)
    np.testing.assert_array_equal(keys.attack.reshape(8, 2), whole.attack.reshape(8, 2))
    np.testing.assert_array_equal(keys.augment.reshape(8, 2), whole.augment.reshape(8, 2))
    np.testing.assert_array_equal(keys.architecture[:1], whole.architecture)


def test_no_key_is_used_twice():
    found = [keys_of(step, replicas=2, examples=3) for step in (0, 1)]
    every = np.concatenate([leaf[:1].reshape(-1, 2) for keys in found for leaf in (keys.architecture, keys.tutors)])
    every = np.concatenate([every, *(leaf.reshape(-1, 2) for keys in found for leaf in (keys.attack, keys.augment))])
    assert len(np.unique(every, axis=0)) == len(every) == 2 * (2 + 2 * 6)


def test_augmentation_is_per_example_and_optional(study):
    image = np.arange(1, 37, dtype=np.uint8).reshape(1, 6, 6, 1)
    same = np.tile(image, (64, 1, 1, 1))
    keys = jax.random.split(jax.random.key(0), 64)
    plain = steps.augment_to_float(PLAIN, keys, same)
    np.testing.assert_array_equal(plain, same / np.float32(255))

    padded = np.pad(image[0, :, :, 0], 1)
    crops = [padded[top : top + 6, left : left + 6] for top in range(3) for left in range(3)]
    mirrored = [crop[:, ::-1] for crop in crops]

    def kinds(augmentation):
        images = np.round(255 * np.asarray(steps.augment_to_float(augmentation, keys, same)[..., 0])).astype(int)
        return {image.tobytes() for image in images}

    def expected(images):
        return {np.ascontiguousarray(image).astype(int).tobytes() for image in images}

    assert kinds(steps.Augmentation(1, False)) == expected(crops)
    assert kinds(steps.Augmentation(0, True)) == expected([image[0, :, :, 0], image[0, :, ::-1, 0]])
    both = kinds(steps.Augmentation(1, True))
    assert both <= expected(crops + mirrored) and len(both) > 9


# -- the step of a fixed network ------------------------------------------------------------------------


def test_a_train_step_does_not_depend_on_the_number_of_replicas(study):
    # Batch statistics within the attack tie the images of all replicas together.
    objective = study.objective("pgd_at", attack_bn="train")
    step = jax.jit(study.over_replicas(study.train_step(objective, DESCENT)))
    before = study.train_state(optimizer=DESCENT)
    found = [step(before, *study.batch(0, n), study.teacher_variables, study.root) for n in (1, 4)]
    chex.assert_trees_all_close(*found, atol=1e-5, rtol=1e-4)
    assert found[0][0].step == 1 and not unmoved(before.variables, found[0][0].variables)


@pytest.mark.slow
def test_a_train_step_is_the_same_without_jit(study):
    objective = study.objective("pgd_at", steps=1, gamma=0.0, kl_weight=0.0)
    step = study.over_replicas(study.train_step(objective, DESCENT, PLAIN))
    args = (study.train_state(optimizer=DESCENT), *study.batch(0, 2), study.teacher_variables, study.root)
    compiled = jax.jit(step)(*args)
    with jax.disable_jit():
        plain = step(*args)
    chex.assert_trees_all_close(compiled, plain, atol=1e-5, rtol=1e-4)


def test_training_the_derived_network_and_the_masked_supernet_costs_the_same(study):
    """One-hot masks and the network cut at them: one loss, one set of gradients."""
    widths = (4, 8)
    masks = width_space.channel_masks(study.space, width_space.one_hot_widths(study.space, widths))
    supernet = study.supernet()
    variables = study.initial(supernet, 0)
    narrow = supernet.clone(widths=widths)

    class Masked:
        def apply(self, variables, images, **options):
            return supernet.apply(variables, images, masks, **options)

    def trained(model, variables):
        objective = study.objective("none", gamma=0.0, kl_weight=0.0)
        step = steps.TrainStep(model, objective, PLAIN, DESCENT)
        return jax.jit(study.over_replicas(step))(
            State.create(variables, DESCENT), *study.batch(0, 1), None, study.root
        )

    wide, expected = trained(Masked(), variables)
    found, sums = trained(narrow, slice_variables(study.space, variables, widths))
    chex.assert_trees_all_close(sums, expected, rtol=1e-5, atol=1e-5)
    cut = slice_variables(study.space, wide.variables, widths)
    chex.assert_trees_all_close(found.variables, cut, rtol=1e-4, atol=1e-5)


# -- many steps a dispatch ------------------------------------------------------------------------------


def count_up(state, images, labels, teacher_variables, root):
    """A step that can be followed by hand: params collects the images, weighed by step and teacher."""
    total = jax.lax.psum(jnp.sum(images.astype(jnp.float32)), steps.AXIS)
    params = 2 * state.params + teacher_variables * total
    sums = {"loss": total, "labels": jax.lax.psum(jnp.sum(labels).astype(jnp.float32), steps.AXIS)}
    sums["count"] = jax.lax.psum(jnp.float32(len(labels)), steps.AXIS)
    sums["nonfinite_step"] = jnp.where(total > 100, state.step, steps.NEVER)
    return state.replace(step=state.step + 1, params=params), sums


def counted(streaming, batches, count, *, first=0):
    """`count_up` over `batches` [steps, devices, n] of one-pixel images; labels are twice the pixels."""
    flat = batches.reshape(-1).astype(np.uint8).reshape(-1, 1, 1, 1)
    rows = np.moveaxis(np.arange(flat.size, dtype=np.int32).reshape(batches.shape), 1, 0)
    images, labels = flat, 2 * flat[:, 0, 0, 0].astype(np.int32)
    if streaming:
        images, labels = (np.stack([block[each] for each in rows[:, 0]]) for block in (images, labels))
        rows = np.tile(np.arange(rows.shape[2], dtype=np.int32), (len(rows), 1, 1))
    state = State(jnp.int32(first), jnp.float32(1.0), None, None)
    run = steps.run_steps(count_up, ("loss", "labels"), streaming=streaming)
    state, teacher = replicate((state, jnp.float32(0.5)))
    return jax.device_get(run(state, images, labels, rows, np.int32(count), teacher, jax.random.key(0)))


def test_a_dispatch_visits_its_rows_in_order():
    batches = np.arange(3 * 4 * 2).reshape(3, 4, 2)
    state, sums = counted(False, batches, 2, first=10)
    first, second = batches[0].sum(), batches[1].sum()
    assert state.step == 12
    assert state.params == 2 * (2 * 1 + 0.5 * first) + 0.5 * second
    assert sums["loss"] == first + second and sums["labels"] == 2 * (first + second) and sums["count"] == 16
    assert sums["nonfinite_step"] == steps.NEVER or second > 100


def test_the_first_bad_step_of_a_dispatch_is_named():
    batches = np.ones((5, 4, 1), int)
    batches[2:4] = 60
    _, sums = counted(False, batches, 5, first=7)
    assert sums["nonfinite_step"] == 9
    _, sums = counted(False, batches, 2, first=7)
    assert sums["nonfinite_step"] == steps.NEVER


def test_a_stream_gives_each_device_its_own_images():
    batches = np.arange(4 * 3).reshape(1, 4, 3)
    state, sums = counted(True, batches, 1)
    assert state.params == 2 + 0.5 * batches.sum() and sums["labels"] == 2 * batches.sum()


def test_no_steps_change_nothing():
    state, sums = counted(False, np.ones((2, 4, 1), int), 0, first=3)
    assert state.step == 3 and state.params == 1 and sums["count"] == 0


def test_one_program_runs_any_number_of_steps():
    traced = chex.assert_max_traces(count_up, n=2)  # a loop may look at its body twice, at first
    run = steps.run_steps(traced, ("loss", "labels"))
    images, labels = np.ones((8, 1, 1, 1), np.uint8), np.ones(8, np.int32)
    rows = np.zeros((4, 6, 2), np.int32)
    state, teacher = replicate((State(jnp.int32(0), jnp.float32(1.0), None, None), jnp.float32(0.5)))
    for count in (1, 6, 3, 0):
        state, _ = run(state, images, labels, rows, np.int32(count), teacher, jax.random.key(0))
    assert state.step == 10

"""An attack of one's own, registered in one file, stands in the files and on the page under its own name."""

from controls import CLASSES, examples, healthy
import jax
import jax.numpy as jnp
import pytest

from rnas.artifacts.attack import AttackSummary, read_examples
from rnas.attacks import catalogue, programs
from rnas.attacks.catalogue import Attack
from rnas.attacks.programs import GRADIENT, AttackRun, ranked
from rnas.attacks.result import AttackResult
from rnas.evaluation import assess_function, sanity
from rnas.pages import write_attack_page

TOY = Attack("corner", "Corner attack", "corner", start="none", repeatable=False)

pytestmark = pytest.mark.usefixtures("brief")


def towards_the_runner_up(logits_fn, images, labels, keys, settings, carry):
    """One step into the corner of the ball that helps the second class most."""
    rival = ranked(logits_fn(images), 2)

    def lead(points):
        logits = logits_fn(points)
        return jnp.sum(jnp.take_along_axis(logits, rival[:, None], 1) - jnp.take_along_axis(logits, labels[:, None], 1))

    points = jnp.clip(images + settings.epsilon * jnp.sign(jax.grad(lead)(images)), 0, 1)
    fooled = jnp.argmax(logits_fn(points), axis=1) != labels
    count = len(images)
    return AttackResult(points, fooled, jnp.zeros(count), jnp.full(count, 3, jnp.int32), fooled), None


def corner_runs(attack, norm, num_classes, eot):
    return [AttackRun(attack, 0, 1, towards_the_runner_up, GRADIENT + 2, settings={"rival": "second class"})]


def test_an_attack_of_one_s_own(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "CATALOGUE", dict(catalogue.CATALOGUE))
    monkeypatch.setitem(programs.PROGRAMS, "corner", corner_runs)
    monkeypatch.setattr(sanity, "run_checks", lambda *_: [])
    catalogue.register(TOY)
    images, labels = examples(12)
    summary = assess_function(
        healthy, images, labels, tmp_path, epsilon="16/255", attack="corner,fgsm", batch_size=12, individually=True
    )
    assert [row.name for row in summary.attacks] == ["corner", "fgsm"]
    row = summary.attacks[0]
    assert 0 < row.fooled <= row.attacked and row.settings == {"rival": "second class"}
    assert row.queries == 3 * row.attacked
    assert read_examples(tmp_path)["success_corner"].sum() == row.fooled
    assert AttackSummary.read(tmp_path / "attack.json") == summary
    assert summary.model.num_classes == CLASSES
    page = write_attack_page(tmp_path).read_text()
    assert "Corner attack" in page and "FGSM" in page

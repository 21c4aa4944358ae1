"""The teacher cache on disk: parts, hosts, kills, what it refuses, and what is read from it."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import copy
import json
import os
import resource
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest

from rnas import steps
from rnas.artifacts import files
from rnas.artifacts.files import read_json, write_json
from rnas.steps import CachedOutputs
from rnas.teachers import cache as module
from rnas.teachers.cache import TeacherCache, teacher_outputs
from rnas.training import interruption
from rnas.training.interruption import Interrupted

IDENTITY = {
    "teacher": {"architecture": "wide_resnet_10_1", "hash": "ab12"},
    "data": {"name": "digits:1.0.0", "counts": {"train": 11}, "data_sha256": "77"},
    "augmentation": {"padding": 1, "flip": True, "cutout": 0},
    "seed": 5,
    "dtype": "float32",
    "maps": {"taps": ["conv1", "block1"], "size": 3},
}
IMAGES, VIEWS, CLASSES = 11, 2, 4


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(module, "SHARD", 4)
    monkeypatch.setattr(module, "CHUNK", 2)


def ask(view, rows):
    """Numbers that say which view and row they are of; halves that float16 holds exactly."""
    random = [np.random.default_rng([view, row]) for row in rows]
    return CachedOutputs(
        np.stack([each.normal(size=CLASSES) for each in random]).astype(np.float32),
        np.stack([each.uniform(size=2) for each in random]).astype(np.float32),
        np.stack([each.integers(0, 2048, (2, 9)) / 2048 for each in random]).astype(np.float16),
    )


def opened(folder, identity=IDENTITY, *, views=VIEWS, images=IMAGES):
    return TeacherCache(folder, identity, images=images, views=views, num_classes=CLASSES)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path):
    """The folder of a complete cache."""
    opened(tmp_path / "whole").build(ask)
    return tmp_path / "whole"


def test_what_was_said_is_read(whole):
    cache = opened(whole)
    assert cache.missing() == [] and cache.taps == ("conv1", "block1") and cache.size == 3
    assert cache.bytes == VIEWS * IMAGES * (4 * CLASSES + 4 * 2 + 2 * 2 * 9)
    rows = np.array([[10, 3], [4, 3]])
    found, expected = cache.read(1, rows), ask(1, rows.reshape(-1))
    for got, wanted in zip(found, expected, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted.reshape(2, 2, *wanted.shape[1:]))
    everything = cache.everything()
    assert everything.maps.shape == (VIEWS, IMAGES, 2, 9)
    for view in range(VIEWS):
        np.testing.assert_array_equal(everything.logits[view], ask(view, np.arange(IMAGES)).logits)


@pytest.mark.parametrize("kill", range(6))
def test_made_in_parts_is_made_at_once(whole, tmp_path, kill):
    asked = []

    def dying(view, rows):
        asked.append((view, rows[0]))
        if len(asked) > kill:
            raise KeyboardInterrupt
        return ask(view, rows)

    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "parts").build(dying)
    cache = opened(tmp_path / "parts")
    assert len(cache.missing()) == 6 - kill
    again = []
    cache.build(lambda view, rows: again.append((view, rows[0])) or ask(view, rows))
    assert len(set(again)) == 6 - kill and not set(again) & set(asked[:-1]), "nothing is asked twice"
    assert contents(tmp_path / "parts") == contents(whole)


def test_a_kill_while_writing_leaves_no_shard(whole, tmp_path, monkeypatch):
    class Dying(module.ArrayRecordWriter):
        def close(self):
            super().close()
            raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "ArrayRecordWriter", Dying)
        with pytest.raises(OSError, match="disk full"):
            opened(tmp_path / "parts").build(ask)
    assert list(contents(tmp_path / "parts")) == ["cache.json"]
    opened(tmp_path / "parts").build(ask)
    assert contents(tmp_path / "parts") == contents(whole)


def test_an_interruption_ends_after_a_whole_shard(tmp_path):
    def signalled(view, rows):
        signal.raise_signal(signal.SIGTERM)
        return ask(view, rows)

    with pytest.raises(Interrupted, match="teacher cache in .* was interrupted; whole shards are kept"):
        opened(tmp_path).build(signalled)
    assert len(opened(tmp_path).missing()) == 5


def test_an_end_asked_of_one_host_ends_them_all(tmp_path, monkeypatch):
    """Two hosts, the other one in a thread; they meet where they agree."""
    barrier, said = threading.Barrier(2, timeout=30), {}

    def gathered(value):
        said[threading.get_ident()] = value
        barrier.wait()
        both = np.array(list(said.values()))
        barrier.wait()
        return both

    def signalled(view, rows):
        signal.raise_signal(signal.SIGTERM)
        return ask(view, rows)

    monkeypatch.setattr(module, "gathered", gathered)
    monkeypatch.setattr(interruption, "_processes", lambda: 2)
    monkeypatch.setattr(interruption, "_of_all", lambda number: gathered(number).max())
    caches = opened(tmp_path), opened(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(caches[1].make_share, ask, 1, 2)
        for run in (lambda: caches[0].make_share(signalled, 0, 2), lambda: other.result(timeout=30)):
            with pytest.raises(Interrupted, match="whole shards are kept"):
                run()
    assert len(opened(tmp_path).missing()) == 4


def test_what_another_run_made_meanwhile_is_not_asked(whole, tmp_path):
    asked = []

    def overtaken(view, rows):
        asked.append(view)
        opened(tmp_path / "shared").build(ask)
        return ask(view, rows)

    opened(tmp_path / "shared").build(overtaken)
    assert len(asked) == 1 and contents(tmp_path / "shared") == contents(whole)


def test_what_kills_left_half_written_is_swept(whole):
    old, young = whole / ".view_0000-a.tmp", whole / ".view_0000-b.tmp"
    for path, age in ((old, 2 * module.STALE), (young, 0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    opened(whole).build(ask)
    assert young.exists() and not old.exists()


@pytest.mark.parametrize("hosts", [2, 3, 7])
def test_shards_of_many_hosts_are_those_of_one(whole, tmp_path, hosts):
    made = []
    for index in reversed(range(hosts)):
        before = set(contents(tmp_path / "shared")) if made else set()
        opened(tmp_path / "shared").make_share(ask, index, hosts)
        made.append(set(contents(tmp_path / "shared")) - before - {"cache.json"})
    assert contents(tmp_path / "shared") == contents(whole)
    assert max(map(len, made)) <= -(-6 // hosts), "they share the work"


def test_further_views_are_added(whole, tmp_path):
    before = contents(whole)
    cache = opened(whole, views=3)
    assert len(cache.missing()) == 3
    asked = set()
    cache.build(lambda view, rows: asked.add(view) or ask(view, rows))
    assert asked == {2}
    assert {name: content for name, content in contents(whole).items() if name in before} == before
    assert opened(whole, views=1).missing() == []


def test_hosts_that_do_not_see_one_folder_are_told(tmp_path, monkeypatch):
    """Two hosts, each of which makes its own share where the other cannot see it."""
    monkeypatch.setattr(module.jax, "process_count", lambda: 2)
    monkeypatch.setattr(module, "gathered", np.atleast_1d)
    monkeypatch.setattr(module, "meet", lambda name: None)
    monkeypatch.setattr(interruption, "_processes", lambda: 2)
    monkeypatch.setattr(interruption, "_of_all", lambda number: number)
    with pytest.raises(ValueError, match="lacks 3 shards, view_0000-rows_00000004.* give all hosts one shared folder"):
        opened(tmp_path).build(ask)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("teacher.hash", "cd34"),
        ("teacher.architecture", "resnet18"),
        ("data.name", "cifar10"),
        ("data.data_sha256", "78"),
        ("augmentation.padding", 2),
        ("augmentation.flip", False),
        ("augmentation.cutout", 4),
        ("seed", 6),
        ("dtype", "bfloat16"),
        ("maps.size", 4),
        ("maps.taps", ["conv1"]),
    ],
)
def test_a_cache_of_something_else_is_refused(whole, key, value):
    other = copy.deepcopy(IDENTITY)
    *sections, name = key.split(".")
    section = other
    for each in sections:
        section = section[each]
    former, section[name] = section[name], value
    before = contents(whole)
    with pytest.raises(ValueError) as refusal:
        opened(whole, other)
    message = str(refusal.value)
    assert f"  {key}: {json.dumps(former)} is what it was made of, {json.dumps(value)} is given\n" in message
    assert message.count("is what it was made of") == 1, "nothing else differs"
    assert "name another folder as teacher.cache.dir" in message
    assert contents(whole) == before


def test_a_cache_without_maps_serves_nobody_who_needs_some(whole, tmp_path):
    logits_only = {**IDENTITY, "maps": None}
    assert opened(whole, logits_only).taps == ("conv1", "block1"), "maps are no hindrance"
    TeacherCache(tmp_path / "few", logits_only, images=IMAGES, views=1, num_classes=CLASSES)
    with pytest.raises(ValueError, match="maps.taps"):
        opened(tmp_path / "few")


@pytest.mark.parametrize("seed", [5, 6])
def test_of_two_runs_that_begin_at_once_one_says_what_the_cache_is_of(tmp_path, monkeypatch, seed):
    """The other's card appears just when this one is about to write its own."""

    def slow(path, content):
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_json", write_json)
            opened(tmp_path, {**IDENTITY, "seed": seed})
        write_json(path, content)

    monkeypatch.setattr(files, "write_json", slow)
    if seed == IDENTITY["seed"]:
        opened(tmp_path)
    else:
        with pytest.raises(ValueError, match="seed: 6 is what it was made of, 5 is given"):
            opened(tmp_path)
    assert list(contents(tmp_path)) == ["cache.json"] and read_json(tmp_path / "cache.json")["seed"] == seed


def test_folders_without_hard_links_will_do(tmp_path, monkeypatch):
    def link(source, target):
        raise PermissionError("hard links are not supported")

    monkeypatch.setattr(files.os, "link", link)
    opened(tmp_path)
    assert list(contents(tmp_path)) == ["cache.json"] and read_json(tmp_path / "cache.json")["seed"] == IDENTITY["seed"]


def test_another_format_is_refused(whole):
    card = read_json(whole / "cache.json")
    (whole / "cache.json").write_text(json.dumps({**card, "format": 0}))
    with pytest.raises(ValueError, match="format: 0 is what it was made of"):
        opened(whole)


def test_a_damaged_shard_is_named(whole):
    path = whole / "view_0001-rows_00000004.array_record"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read .*; remove it to have it made anew"):
        opened(whole).read(1, np.array([5]))
    opened(whole).read(0, np.array([5]))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=path.name):
        opened(whole).read(1, np.array([5]))
    cache = opened(whole)
    cache.build(ask)
    np.testing.assert_array_equal(cache.read(1, np.array([5])).maps, ask(1, [5]).maps)


@contextlib.contextmanager
def at_most(count):
    """Lets this process open `count` further files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_few_shards_are_open_at_once(whole, monkeypatch):
    monkeypatch.setattr(module, "READERS", 3)
    cache = opened(whole, views=4)
    cache.build(ask)
    with at_most(4):
        said = cache.everything()
    for view in range(4):
        np.testing.assert_array_equal(said.logits[view], ask(view, np.arange(IMAGES)).logits)


def test_a_healthy_shard_that_cannot_be_opened_is_not_called_damaged(whole):
    cache = opened(whole)
    with at_most(0), pytest.raises(OSError, match="Too many open files: .*rows_00000004") as found:
        cache.read(1, np.array([5]))
    assert "remove" not in str(found.value)
    np.testing.assert_array_equal(cache.read(1, np.array([5])).logits, ask(1, [5]).logits)


@pytest.mark.parametrize("other", ["view_0000-rows_00000004", "view_0001-rows_00000000"])
def test_a_shard_in_the_place_of_another_is_found_out(whole, other):
    path = whole / "view_0001-rows_00000004.array_record"
    shutil.copy(whole / f"{other}.array_record", path)
    with pytest.raises(ValueError, match=f"{path.name} holds outputs of another teacher or on other im"):
        opened(whole).read(1, np.array([5]))


def test_shards_that_lost_their_card_are_not_taken_for_those_of_another_teacher(whole):
    (whole / "cache.json").unlink()
    cache = opened(whole, {**IDENTITY, "seed": 6})
    with pytest.raises(ValueError, match="rows_00000000.array_record holds outputs of another teacher"):
        cache.read(0, np.array([2]))
    (whole / "cache.json").unlink()
    np.testing.assert_array_equal(opened(whole).read(0, np.array([2])).logits, ask(0, [2]).logits)


def test_a_teacher_is_sent_to_the_devices_once():
    seen = []

    def program(variables, images, rows, view):
        seen.append(variables["weight"])
        return CachedOutputs(*(np.zeros((*rows.shape, 1)) for _ in CachedOutputs._fields))

    compute = teacher_outputs(program, {"weight": np.ones(3)}, np.zeros((IMAGES, 4, 4, 1), np.uint8))
    compute(0, np.arange(IMAGES))
    compute(1, np.arange(IMAGES))
    assert len(seen) > 2 and all(leaf is seen[0] for leaf in seen)
    assert seen[0].sharding.device_set == set(jax.local_devices())


def test_answers_do_not_depend_on_the_part_that_is_asked():
    """A teacher that tells its images apart, asked in chunks that do not divide the rows."""

    def teacher(variables, images):
        pixels = images.reshape(len(images), -1)
        return variables["weight"] * pixels[:, :CLASSES], {"tap": images}

    views = steps.Views(steps.Augmentation(1, True), 0, 2)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4, 1)).astype(np.uint8)
    compute = teacher_outputs(
        steps.run_teacher_on_views(teacher, views, ("tap",), 3), {"weight": np.float32(2)}, images
    )
    said = compute(1, np.arange(IMAGES))
    assert said.maps.shape == (IMAGES, 1, 9) and said.maps.dtype == np.float16
    seen = np.asarray(views.show(images, 1, np.arange(IMAGES))).reshape(IMAGES, -1)
    np.testing.assert_allclose(said.logits, seen[:, :CLASSES] * np.float32(2 / 255), rtol=1e-6)
    for part in (slice(4, 8), slice(8, 11), slice(3, 4)):
        for leaf, of_part in zip(said, compute(1, np.arange(IMAGES)[part]), strict=True):
            np.testing.assert_array_equal(leaf[part], of_part)

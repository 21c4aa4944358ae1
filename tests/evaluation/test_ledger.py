"""What an evaluation has finished: taken from disk again, redone where damaged, refused to another evaluation."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from rnas.evaluation import ledger as ledgers
from rnas.evaluation.ledger import Ledger, check_identity

IDENTITY = {"model": "cafe", "epsilon": 0.03, "attacks": ["apgd_ce", "square 1/2"]}
ROWS = np.array([0, 2, 3, 5, 7, 8, 11])


def in_threes(rows):
    for first in range(0, len(rows), 3):
        yield rows[first : first + 3]


class Work:
    """Squares of rows and a carry, batch by batch; remembers the batches, and fails at one of them."""

    def __init__(self, fails_at=None):
        self.batches, self.fails_at = [], fails_at

    def __call__(self, rows):
        for batch in in_threes(rows):
            yield batch, self.squares(batch)

    def squares(self, batch):
        if len(self.batches) == self.fails_at:
            raise RuntimeError("out of luck")
        self.batches.append(batch.tolist())
        image = np.multiply.outer(batch, np.ones((2, 2))).astype(np.float32)
        return {"square": batch**2, "images": image, "carry_0": image + 1, "carry_1": batch % 2 == 0}


def assert_right(found, rows=ROWS):
    np.testing.assert_array_equal(found["square"], rows**2)
    np.testing.assert_array_equal(found["images"][:, 1, 0], rows)
    assert found["images"].dtype == np.float32 and found["square"].dtype == rows.dtype


@pytest.fixture
def open_ledger(tmp_path):
    return lambda: Ledger(tmp_path / "run" / "ledger", IDENTITY)


def files(tmp_path, name="part_0"):
    return sorted((tmp_path / "run" / "ledger" / name).iterdir())


def test_finished_work_is_not_done_again(open_ledger):
    told = []
    first = open_ledger().measured("part 0", ROWS, Work(), told.append)
    assert_right(first)
    assert told == [3, 3, 1]
    work = Work()
    second = open_ledger().measured("part 0", ROWS, work)
    assert work.batches == []
    assert first.keys() == second.keys() == {"square", "images", "carry_0", "carry_1", "seconds"}
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_stopped_work_goes_on_with_the_same_batches(open_ledger, fails_at):
    stopped, rest = Work(fails_at), Work()
    with pytest.raises(RuntimeError, match="out of luck"):
        open_ledger().measured("part 0", ROWS, stopped)
    assert_right(open_ledger().measured("part 0", ROWS, rest))
    assert stopped.batches + rest.batches == [[0, 2, 3], [5, 7, 8], [11]]


@pytest.mark.parametrize("file", ["00001.npz", "00001.carry.npz"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_damaged_batch_is_redone(open_ledger, tmp_path, file, damage):
    open_ledger().measured("part 0", ROWS, Work())
    path = tmp_path / "run" / "ledger" / "part_0" / file
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "garbage": b"no file of arrays"}[damage])
    work = Work()
    found = open_ledger().measured("part 0", ROWS, work)
    assert_right(found)
    np.testing.assert_array_equal(found["carry_0"], found["images"] + 1)
    assert work.batches == [[5, 7, 8]]


@pytest.mark.parametrize("file", ["00001.npz", "00001.carry.npz"])
def test_no_changed_byte_is_believed(open_ledger, tmp_path, file):
    open_ledger().measured("part 0", ROWS, Work())
    folder = tmp_path / "run" / "ledger" / "part_0"
    contents = {path: path.read_bytes() for path in files(tmp_path)}
    content = contents[folder / file]
    for place in range(0, len(content), 5):
        for path in files(tmp_path):
            path.unlink()
        for path, before in contents.items():
            path.write_bytes(before)
        (folder / file).write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        work = Work()
        found = open_ledger().measured("part 0", ROWS, work)
        assert_right(found)
        np.testing.assert_array_equal(found["carry_0"], found["images"] + 1)
        assert work.batches in ([[5, 7, 8]], [])  # some bytes are of no consequence: the time of writing, for one


def test_a_batch_counts_only_once_its_carry_is_there(open_ledger, tmp_path, monkeypatch):
    written, write = [], ledgers.write_arrays

    def stops_between(path, arrays):
        write(path, arrays)
        written.append(path.name)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ledgers, "write_arrays", stops_between)
    with pytest.raises(KeyboardInterrupt):
        open_ledger().measured("part 0", ROWS, Work())
    assert written == ["00000.carry.npz", "00000.npz", "00001.carry.npz"]
    work = Work()
    assert_right(open_ledger().measured("part 0", ROWS, work))
    assert work.batches == [[5, 7, 8], [11]]


def test_a_carry_can_be_dropped(open_ledger, tmp_path):
    ledger = open_ledger()
    ledger.measured("part 0", ROWS, Work())
    ledger.forget_carry("part 0")
    assert [path.name for path in files(tmp_path)] == ["00000.npz", "00001.npz", "00002.npz"]
    found = open_ledger().measured("part 0", ROWS, Work(fails_at=0))
    assert found.keys() == {"square", "images", "seconds"}
    assert_right(found)
    ledger.forget_carry("never begun")


@pytest.mark.parametrize("left", [0, 1, 2])
def test_dropping_a_carry_may_be_stopped_halfway(open_ledger, tmp_path, left):
    open_ledger().measured("part 0", ROWS, Work())
    for number in {0, 1, 2} - {left}:
        (tmp_path / "run" / "ledger" / "part_0" / f"{number:05d}.carry.npz").unlink()
    assert_right(open_ledger().measured("part 0", ROWS, Work(fails_at=0)))


def test_results_of_other_examples_are_refused(open_ledger):
    open_ledger().measured("part 0", ROWS, Work())
    with pytest.raises(ValueError, match="part_0 holds results of examples that were not to be measured; remove"):
        open_ledger().measured("part 0", ROWS[:-1], Work())


def test_rows_that_two_processes_wrote_are_the_same_rows(open_ledger, tmp_path):
    open_ledger().measured("part 0", ROWS, Work())
    for number, path in enumerate(files(tmp_path)[:4]):
        path.with_name(path.name.replace(path.name[:5], f"{5 + number // 2:05d}")).write_bytes(path.read_bytes())
    assert len(files(tmp_path)) == 10
    found = open_ledger().measured("part 0", ROWS, Work(fails_at=0))
    assert_right(found)
    np.testing.assert_array_equal(found["carry_0"], found["images"] + 1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_every_floating_type_comes_back(open_ledger, dtype):
    def run(rows):
        for batch in in_threes(rows):
            yield batch, {"margin": jnp.asarray(batch, dtype) / 4}

    first = open_ledger().measured("part 0", ROWS, run)["margin"]
    again = open_ledger().measured("part 0", ROWS, run)["margin"]
    np.testing.assert_array_equal(again.astype(np.float32), first.astype(np.float32))
    np.testing.assert_array_equal(again.astype(np.float32), ROWS / 4)


def test_what_an_earlier_version_wrote_in_types_without_a_name_is_redone(open_ledger, tmp_path):
    open_ledger().measured("part 0", ROWS, Work())
    path = tmp_path / "run" / "ledger" / "part_0" / "00001.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"square": arrays["square"].astype(jnp.bfloat16)})
    work = Work()
    assert_right(open_ledger().measured("part 0", ROWS, work))
    assert work.batches == [[5, 7, 8]]


def test_no_rows_are_no_work(open_ledger, tmp_path):
    assert open_ledger().measured("part 0", ROWS[:0], Work(fails_at=0)) == {}
    assert not (tmp_path / "run" / "ledger" / "part_0").exists()


def test_another_evaluation_is_refused_with_both_values(open_ledger, tmp_path):
    open_ledger()
    other = {**IDENTITY, "epsilon": 0.06, "attacks": ["fab_t"]}
    with pytest.raises(ValueError) as refusal:
        Ledger(tmp_path / "run" / "ledger", other)
    message = str(refusal.value)
    assert "epsilon: 0.03 there, 0.06 now" in message
    assert "attacks: ['apgd_ce', 'square 1/2'] there, ['fab_t'] now" in message
    assert "model" not in message and str(tmp_path / "run") in message
    assert json.loads((tmp_path / "run" / "ledger" / "identity.json").read_text()) == IDENTITY


def test_a_field_on_one_side_only_is_a_difference(tmp_path):
    with pytest.raises(ValueError, match="new: None there, 1 now; old: 2 there, None now"):
        check_identity({"same": 0, "old": 2}, {"same": 0, "new": 1}, tmp_path)
    check_identity(dict(IDENTITY), dict(IDENTITY), tmp_path)


def test_a_closed_ledger_leaves_nothing(open_ledger, tmp_path):
    ledger = open_ledger()
    ledger.measured("part 0", ROWS, Work())
    ledger.close()
    assert list((tmp_path / "run").iterdir()) == []
    work = Work()
    open_ledger().measured("part 0", ROWS, work)
    assert len(work.batches) == 3

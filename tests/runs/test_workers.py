"""Equal workers on pieces of work: each piece once, the dearest first, failures marked, others' pieces left to them."""

from concurrent.futures import ThreadPoolExecutor
import threading

import pytest

from rnas.artifacts.failure import failures, forget_failures
from rnas.artifacts.leases import Leases
from rnas.runs.workers import Piece, work
from rnas.training.trainer import DivergedError


class Pieces:
    """Pieces with the given costs, and who did them in which order."""

    def __init__(self, costs, do=lambda name: None):
        self.done, self.order, self.lock, self.run = set(), [], threading.Lock(), do
        self.all = [Piece(name, f"piece {name}", cost, lambda n=name: n in self.done, lambda n=name: self.do(n))
                    for name, cost in costs.items()]  # fmt: skip

    def do(self, name):
        with self.lock:
            self.order.append(name)
        self.run(name)
        self.done.add(name)


def test_the_dearest_come_first_and_finished_ones_not_at_all(tmp_path):
    pieces = Pieces({"a": 1, "b": 3, "c": 2, "d": 4})
    pieces.done.add("d")
    assert work(tmp_path, pieces.all) == {} and pieces.order == ["b", "c", "a"]


@pytest.mark.parametrize("workers", [2, 5, 9])
def test_many_workers_do_every_piece_once(tmp_path, workers):
    met = threading.Barrier(2, timeout=30)

    def meet_once(name):
        if name in ("p0", "p1"):
            met.wait()  # two are at work at a time

    pieces = Pieces({f"p{number}": 10 - number for number in range(8)}, meet_once)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: work(tmp_path, pieces.all), range(workers)))
    assert sorted(pieces.order) == sorted(pieces.done) == [f"p{number}" for number in range(8)]


def test_what_failed_is_marked_and_tried_again_only_on_demand(tmp_path, capsys):
    broken = {"b"}

    def fail(name):
        if name in broken:
            raise DivergedError("the loss of step 3 is not finite")

    pieces = Pieces({"a": 1, "b": 2, "c": 3}, fail)
    expected = {"b": "failed: the loss of step 3 is not finite"}
    assert work(tmp_path, pieces.all) == expected and pieces.order == ["c", "b", "a"]
    broken.clear()
    assert work(tmp_path, pieces.all) == expected and len(pieces.order) == 3
    assert list(failures(tmp_path)) == forget_failures(tmp_path) == ["b"] and failures(tmp_path) == {}
    assert work(tmp_path, pieces.all) == {} and pieces.order[3:] == ["b"]


def test_another_error_ends_the_worker_and_gives_the_piece_back(tmp_path):
    def full(name):
        raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space left"):
        work(tmp_path, Pieces({"a": 1}, full).all)
    assert failures(tmp_path) == Leases(tmp_path).holders() == {}


def test_a_piece_in_other_hands_is_left_to_them(tmp_path):
    pieces = Pieces({"a": 1, "b": 2})
    with Leases(tmp_path).claimed("b"):
        left = work(tmp_path, pieces.all)
    assert pieces.order == ["a"] and list(left) == ["b"] and left["b"].startswith("in the hands of process ")

"""Claims on pieces of work: one holder each, renewed while it lives, taken over afterwards."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rnas.artifacts.folder_lock import Owner
from rnas.artifacts.leases import FOLDER, Lease, Leases

HOLDER = """
import sys, time
from pathlib import Path
from rnas.artifacts.leases import Leases

with Leases(Path(sys.argv[1]), float(sys.argv[2])).claimed("a") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def age(workdir, name, seconds):
    path = workdir / FOLDER / f"{name}.json"
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_one_of_many_workers_gets_a_piece(tmp_path):
    barrier = threading.Barrier(16)

    def work(_):
        barrier.wait()
        with Leases(tmp_path).claimed("a") as mine:
            barrier.wait()  # nobody gives it back before all have asked
            return mine

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(16))) == 1
    with Leases(tmp_path).claimed("a") as mine:
        assert mine, "it was given back"


def test_pieces_are_claimed_apart_and_shown_with_their_holder(tmp_path):
    leases = Leases(tmp_path)
    with leases.claimed("a") as first, leases.claimed("b") as second, leases.claimed("a") as again:
        assert (first, second, again) == (True, True, False)
        held = leases.holders()
        assert list(held) == ["a", "b"] and held["a"].process == os.getpid()
        first_lease, second_lease = (Lease.read(tmp_path / FOLDER / f"{name}.json") for name in ("a", "b"))
        assert first_lease.token != second_lease.token
    assert leases.holders() == {} and list((tmp_path / FOLDER).iterdir()) == []


def test_a_piece_is_given_back_after_a_failure(tmp_path):
    with contextlib.suppress(RuntimeError), Leases(tmp_path).claimed("a"):
        raise RuntimeError
    with Leases(tmp_path).claimed("a") as mine:
        assert mine


def test_a_lease_that_is_not_renewed_is_taken_over_by_one(tmp_path):
    Lease(Owner("elsewhere", 1, "2020-01-01T00:00:00+00:00"), "dead").write(tmp_path / FOLDER / "a.json")
    age(tmp_path, "a", 299)
    with Leases(tmp_path).claimed("a") as mine:
        assert not mine
    age(tmp_path, "a", 2)
    assert Leases(tmp_path).holders() == {}
    barrier = threading.Barrier(8)

    def work(_):
        barrier.wait()
        with Leases(tmp_path).claimed("a") as mine:
            barrier.wait()
            return mine

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) <= 1
    with Leases(tmp_path).claimed("a") as mine:
        assert mine
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_damaged_lease_keeps_the_piece_until_it_is_stale(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a.json").write_text("{")
    with Leases(tmp_path).claimed("a") as mine:
        assert not mine
    age(tmp_path, "a", 301)
    with Leases(tmp_path).claimed("a") as mine:
        assert mine


def test_a_lease_is_renewed_while_its_holder_lives_and_no_longer(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "2"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == "True\n"
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with Leases(tmp_path, 2).claimed("a") as mine:
                assert not mine
            time.sleep(0.1)
        holder.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    mine = False
    while not mine:
        assert time.monotonic() < until
        with Leases(tmp_path, 2).claimed("a") as mine:
            pass
        time.sleep(0.1)


def test_who_lost_a_piece_does_not_give_away_that_of_another(tmp_path):
    """One that was suspended for too long."""
    with Leases(tmp_path, 0.5).claimed("a") as mine:
        assert mine
        other = Lease(Owner("elsewhere", 1, "2020-01-01T00:00:00+00:00"), "other")
        other.write(tmp_path / FOLDER / "a.json")
        time.sleep(0.2)
    assert Leases(tmp_path).holders() == {"a": other.owner}
    assert Lease.read(tmp_path / FOLDER / "a.json") == other


@pytest.mark.parametrize("name", ["15_seed0", "shared_seed3", "seed_1"])
def test_names_are_those_of_the_pieces(tmp_path, name):
    with Leases(tmp_path).claimed(name) as mine:
        assert mine and list(Leases(tmp_path).holders()) == [name]

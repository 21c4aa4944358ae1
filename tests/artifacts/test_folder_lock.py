"""The lock of a folder: between threads and processes, after a kill, and where there are no locks."""

import errno
import os
import signal
import subprocess
import sys

import filelock
import pytest

from rnas.artifacts.folder_lock import LOCK, OWNER, Owner, is_at_work, locked

HOLDER = """
import sys, time
from rnas.artifacts.folder_lock import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_and_told_who_works_there(tmp_path):
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        with pytest.raises(ValueError) as refusal, locked(folder, ", or choose another --output"):
            pytest.fail("two at a time")
        message = str(refusal.value)
        assert f"process {os.getpid()} on {Owner.here().host}, since 20" in message
        assert f"works in {folder}. Wait for its end, or stop it, or choose another --output." in message
    with locked(folder):
        pass
    assert not (folder / OWNER).exists()


def test_an_owner_that_cannot_be_read_is_another_process(tmp_path):
    with locked(tmp_path):
        (tmp_path / OWNER).write_text("[")
        with pytest.raises(ValueError, match="^another process works in"), locked(tmp_path):
            pass


def test_a_mistake_inside_frees_the_folder(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=f"process {holder.pid} on "), locked(tmp_path):
            pass
        assert is_at_work(tmp_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert Owner.read(tmp_path / OWNER).process == holder.pid and not is_at_work(tmp_path)
    with locked(tmp_path):
        assert Owner.read(tmp_path / OWNER).process == os.getpid()


def test_where_there_are_no_locks_work_goes_on_with_a_warning(tmp_path, monkeypatch):
    def unsupported(self, *arguments, **rest):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", unsupported)
    with pytest.warns(UserWarning, match="has no locks: start one process there at a time"), locked(tmp_path):
        assert is_at_work(tmp_path)
    assert not is_at_work(tmp_path)


def test_other_errors_are_not_passed_over(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(OSError), locked(tmp_path):
        pass

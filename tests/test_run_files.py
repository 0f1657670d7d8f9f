"""The folder of a run: states through kills, torn files, full disks and strangers' files; one writer at a time."""

import errno
import json
import os
import pickle
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from forks import in_a_fork, start
from test_tree import a_tree, same

from bnn_zoo.run import Folder, Store, Variable, _disk, _lock, _state
from bnn_zoo.run._disk import write_whole

pytest.importorskip("safetensors")
ABOUT = {"settings": {"step_size": 0.1, "chains": 4}, "versions": {"torch": "2.6"}}


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """What is not on the disk is lost with the power, and not with a process: tests need no waiting for it."""
    monkeypatch.setattr(_disk.os, "fsync", lambda _: None)


@pytest.fixture
def folder(tmp_path):
    return Folder.create(tmp_path / "run", ABOUT)


def state_file(folder, part, step):
    return folder.path / f"state-{part:04d}-{step:012d}.safetensors"


def names(folder):
    return sorted(p.name for p in folder.path.iterdir())


def tree(step):
    return {"x": torch.full((3,), float(step)), "count": step, "scales": (torch.tensor(2.0), [])}


@pytest.mark.parametrize("seed", range(3))
def test_states_come_back(folder, seed):
    rng = random.Random(seed)
    for step in range(12):
        written = a_tree(rng)
        folder.write_state(seed, step, written)
        at, read = Folder.open(folder.path).read_state(seed)
        assert at == step and same(read, written)


def test_tensors_that_share_memory_come_back_each_in_its_own(folder):
    base = torch.arange(6.0)
    written = [base[:4], base[2:], base, base.view(2, 3).T, base[0].expand(5), base]
    folder.write_state(0, 0, written)
    read = folder.read_state(0)[1]
    assert same(read, written)
    read[0].zero_()
    assert torch.equal(read[1], base[2:]) and torch.equal(base, torch.arange(6.0))


def test_two_states_of_each_part_are_kept(folder):
    for step in (1, 5, 9, 20):
        folder.write_state(0, step, tree(step))
    folder.write_state(3, 7, tree(7))
    assert folder.parts() == [0, 3] and folder.states(0) == [9, 20] and folder.states(3) == [7] and folder.states(1) == []
    assert folder.read_state(1) is None and folder.read_state(0)[0] == 20
    assert same(folder.read_state(0, 9), (9, tree(9)))
    with pytest.raises(ValueError, match=r"no readable state of part 0 at step 5: expected one of \[20, 9\], got 5"):
        folder.read_state(0, 5)


def test_what_is_written_after_going_back_replaces_what_came_later(folder):
    for step in (10, 20):
        folder.write_state(0, step, tree(step))
    folder.write_state(0, 15, tree(15))
    assert folder.states(0) == [10, 15]
    folder.write_state(0, 15, tree(16))
    assert folder.read_state(0)[1]["count"] == 16 and folder.states(0) == [10, 15]
    folder.write_state(1, 30, tree(30))
    folder.rewind(12)
    assert folder.states(0) == [10] and folder.states(1) == []


def test_a_file_cut_off_anywhere_is_passed_over_with_a_warning(folder):
    folder.write_state(0, 1, tree(1))
    folder.write_state(0, 2, tree(2))
    newest = state_file(folder, 0, 2)
    whole = newest.read_bytes()
    for size in range(0, len(whole), 7):
        newest.write_bytes(whole[:size])
        with pytest.warns(UserWarning, match=rf"{newest} is cut off .*; the state of step 1 is taken instead"):
            assert same(folder.read_state(0), (1, tree(1)))
        assert folder.states(0) == [1]
    newest.write_bytes(whole)
    assert folder.read_state(0)[0] == 2


def test_a_changed_byte_is_found_wherever_it_is(folder):
    folder.write_state(0, 2, tree(2))
    path = state_file(folder, 0, 2)
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"no readable state of part 0: .*(damaged|cut off)"):
            folder.read_state(0)


def test_where_no_state_is_readable_each_is_named(folder):
    for step in (1, 2):
        folder.write_state(0, step, tree(step))
        state_file(folder, 0, step).write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"no readable state of part 0: {state_file(folder, 0, 2)}.*{state_file(folder, 0, 1)}"
    ):
        folder.read_state(0)


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_loaded(folder, tmp_path):
    bomb = Bomb(tmp_path / "unpickled")
    folder.write_state(0, 1, tree(1))
    path = state_file(folder, 0, 2)
    torch.save({"x": bomb}, path)
    with pytest.warns(UserWarning, match="no file of safetensors"):
        assert folder.read_state(0)[0] == 1
    path.write_bytes(pickle.dumps(bomb))
    with pytest.warns(UserWarning, match="no file of safetensors"):
        assert folder.read_state(0)[0] == 1
    (folder.path / "run.json").write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match=r"run\.json is damaged, it is not JSON"):
        Folder.open(folder.path)
    assert not (tmp_path / "unpickled").exists()
    pickle.loads(pickle.dumps(bomb))
    assert (tmp_path / "unpickled").exists()  # it would have been


def test_a_later_format_is_refused_and_not_taken_for_damage(folder, monkeypatch):
    folder.write_state(0, 1, tree(1))
    monkeypatch.setattr(_state, "FORMAT", 2)
    folder.write_state(0, 2, tree(2))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 2, and this version of bnn_zoo reads up to 1: update bnn_zoo"):
        folder.read_state(0)
    (folder.path / "run.json").write_text(json.dumps({"format": 2, "whatever": 1}))
    with pytest.raises(ValueError, match=r"run\.json has format 2, .*: update bnn_zoo"):
        Folder.open(folder.path)
    (folder.path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="expected format and about"):
        Folder.open(folder.path)


def test_what_no_state_can_hold_is_refused_by_where_it_stands(folder):
    with pytest.raises(TypeError, match=r"step\.rule is a builtins\.function"):
        folder.write_state(0, 1, {"step": {"rule": lambda: 0}})
    with pytest.raises(TypeError, match=r"does not keep tensors of .*complex128"):
        folder.write_state(0, 1, torch.zeros(2, dtype=torch.complex128))
    assert folder.parts() == []


# ---- what the folder is of


def test_a_run_is_compared_with_what_it_is_given(folder):
    opened = Folder.open(folder.path)
    assert opened == folder and opened.about == ABOUT
    opened.need_same(ABOUT)
    other = {"settings": {"step_size": 0.2, "warmup": 3}, "versions": {"torch": "2.9"}}
    with pytest.raises(ValueError, match="other settings, model or data") as error:
        opened.need_same(other, tell=["versions"])
    lines = str(error.value).splitlines()[1:-1]
    assert [line.strip() for line in lines] == [
        "settings.step_size: expected 0.1, got 0.2",
        "settings.chains: expected 4, got nothing",
        "settings.warmup: expected nothing, got 3",
    ]
    with pytest.warns(UserWarning, match=r'begun with others:\n  versions\.torch: expected "2\.6", got "2\.9"'):
        opened.need_same(ABOUT | {"versions": {"torch": "2.9"}}, tell=["versions"])
    long = ["x" * 300]
    with pytest.raises(ValueError, match=r"hash: expected nothing, got \[\"x{150,}… \([0-9a-f]{8}\)"):
        opened.need_same(ABOUT | {"hash": long})


def test_about_is_plain_data(tmp_path):
    about = {"clip": float("inf"), "sizes": (1, 2), "none": None, "empty": {}, "yes": True}
    Folder.create(tmp_path / "run", about)
    opened = Folder.open(tmp_path / "run")
    assert opened.about == {"clip": "inf", "sizes": [1, 2], "none": None, "empty": {}, "yes": True}
    opened.need_same(about)
    with pytest.raises(ValueError, match=r"empty: expected \{\}, got nothing"):
        opened.need_same({k: v for k, v in about.items() if k != "empty"})
    with pytest.raises(TypeError, match=r"about\.rule\.0: expected None, bool, .* got <built-in function len>"):
        Folder.create(tmp_path / "other", {"rule": [len]})
    assert not (tmp_path / "other").exists()


def test_paths_that_are_something_else(tmp_path, folder):
    with pytest.raises(FileExistsError, match="holds a run already: open that one, or choose another folder"):
        Folder.create(folder.path, ABOUT)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file: expected the name of a new folder"):
        Folder.create(tmp_path / "file", ABOUT)
    with pytest.raises(OSError, match="inner cannot be the folder of a run: Not a directory"):
        Folder.create(tmp_path / "file" / "inner", ABOUT)
    with pytest.raises(FileExistsError, match=r"holds other things \(file, run\): choose a new or an empty folder"):
        Folder.create(tmp_path, ABOUT)
    assert names(folder) == ["lock", "run.json"]
    for path in (tmp_path / "nothing", tmp_path, tmp_path / "file"):
        with pytest.raises(FileNotFoundError, match=r"holds no run: expected a folder with run\.json"):
            Folder.open(path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json.7.tmp").write_text("{")  # of one that was killed as it began
    Folder.create(str(tmp_path / "empty"), ABOUT).write_state(0, 0, tree(0))


# ---- disks


def test_a_full_disk_leaves_the_states_before(folder):
    def work():
        folder.write_state(0, 1, tree(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # Python ignores SIGXFSZ: writing raises EFBIG
        with pytest.raises(OSError, match=r"safetensors cannot be written .*: the disk is full, or a quota") as error:
            folder.write_state(0, 2, torch.zeros(20_000))
        assert error.value.errno == errno.EFBIG
        assert names(folder) == ["lock", "run.json", state_file(folder, 0, 1).name]
        folder.write_state(0, 2, tree(2))  # there is room for a small one

    in_a_fork(work)
    assert folder.states(0) == [1, 2]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_later_leaves_the_states_before(folder, monkeypatch, call):
    folder.write_state(0, 1, tree(1))

    def fails(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_disk.os, call, fails)
    with pytest.raises(OSError, match="the disk is full") as error:
        folder.write_state(0, 2, tree(2))
    monkeypatch.undo()
    assert error.value.errno == errno.ENOSPC
    assert names(folder) == ["lock", "run.json", state_file(folder, 0, 1).name]


def test_a_state_is_synced_before_it_has_its_name_and_then_its_folder(folder, monkeypatch):
    calls = []
    usual = os.replace
    monkeypatch.setattr(_disk.os, "fsync", lambda fd: calls.append(Path(os.readlink(f"/proc/self/fd/{fd}")).suffix))
    monkeypatch.setattr(_disk.os, "replace", lambda a, b: (calls.append("replace"), usual(a, b)))
    folder.write_state(0, 1, tree(1))
    assert calls == [".tmp", "replace", ""]


def test_ctrl_c_while_writing_leaves_nothing_behind(folder, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_disk.os, "fsync", pressed)
    with pytest.raises(KeyboardInterrupt):
        folder.write_state(0, 2, tree(2))
    assert names(folder) == ["lock", "run.json"]


@pytest.fixture
def read_only(monkeypatch):
    """``open`` for writing fails as in a folder that is read-only; root may write everywhere."""
    usual, number = os.open, errno.EROFS

    def refuse(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(number, os.strerror(number), path)
        return usual(path, flags, *rest, **more)

    return lambda: (monkeypatch.setattr(os, "open", refuse), monkeypatch.setattr("builtins.open", refuse_open))


def refuse_open(path, mode="r", *rest, **more):
    if set(mode) & set("wax+"):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
    return Path(path).open(mode, *rest, **more)


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(folder, tmp_path, read_only):
    folder.write_state(0, 1, tree(1))
    read_only()
    with pytest.raises(OSError, match="run cannot be written to: Read-only file system; change the permissions") as error:
        with folder.locked():
            raise AssertionError
    assert error.value.errno == errno.EROFS
    with pytest.raises(PermissionError, match=r"cannot be written .*: Permission denied; change the permissions"):
        folder.write_state(0, 2, tree(2))
    with pytest.raises(OSError, match="Read-only file system"):
        Folder.create(tmp_path / "new", ABOUT)
    assert same(Folder.open(folder.path).read_state(0), (1, tree(1)))  # it can be read


def test_a_folder_without_permission():
    with tempfile.TemporaryDirectory() as place:
        folder = Folder.create(Path(place) / "run", ABOUT)
        folder.write_state(0, 1, tree(1))

        def work():
            if os.geteuid() == 0:
                os.seteuid(65534)  # root may write everywhere
            for locked in (folder.locked, Folder.open(folder.path).locked):
                with pytest.raises(PermissionError, match="cannot be written to: Permission denied"), locked():
                    raise AssertionError
            with pytest.raises(PermissionError, match="cannot be written"):
                folder.write_state(0, 1, tree(1))
            assert same(folder.read_state(0), (1, tree(1)))

        os.chmod(place, 0o755)
        (folder.path / "lock").chmod(0o444)
        folder.path.chmod(0o555)
        try:
            in_a_fork(work)
        finally:
            folder.path.chmod(0o755)


@pytest.mark.slow
def test_on_a_small_disk(tmp_path):
    """A file system of 1 MB in memory: states until it is full, then again when there is room."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        folder = Folder.create(tmp_path / "run", ABOUT)
        (tmp_path / "other").write_bytes(bytes(300_000))
        folder.write_state(0, 1, torch.full((50_000,), 1.0))
        folder.write_state(0, 2, torch.full((50_000,), 2.0))
        for step in (3, 4):
            with pytest.raises(OSError, match="the disk is full") as error:
                folder.write_state(0, step, torch.full((50_000 * step,), 1.0 * step))
            assert error.value.errno == errno.ENOSPC and folder.states(0) == [1, 2]
        big = {"w": Variable((100_000,), torch.float32)}
        with pytest.raises(OSError, match=r"the draws need 4 MB, and .* are free on this disk"):
            Store.create(tmp_path / "draws", big, chains=1, draws=10)
        store = Store.create(tmp_path / "draws", {"w": Variable((1000,), torch.float32)}, chains=1, draws=20)
        with pytest.raises(OSError), open(tmp_path / "more", "wb", buffering=0) as more:
            while more.write(bytes(4096)):  # another fills it
                pass
        with pytest.raises(OSError, match=r"c\.0\.0\.0 cannot be written .*: the disk is full"):
            store.write(range(1), 0, {"w": torch.ones(1, 20, 1000)})
        (tmp_path / "other").unlink()
        (tmp_path / "more").unlink()
        store.write(range(1), 0, {"w": torch.ones(1, 20, 1000)})
        store.sync()
        folder.write_state(0, 3, torch.full((50_000,), 3.0))
        assert folder.states(0) == [2, 3] and store.sites["w"][:].sum() == 20_000
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# ---- one writer at a time


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_second_writer_is_told_who_is_the_first(folder):
    done = folder.path.parent / "done"

    def first():
        with folder.locked():
            (folder.path.parent / "has").touch()
            wait_for(done)

    process, _ = start(first)
    wait_for(folder.path.parent / "has")
    with pytest.raises(BlockingIOError, match=rf"run is in use by process {process.pid} on .*: wait for its end"):
        with folder.locked():
            raise AssertionError
    assert Folder.open(folder.path).read_state(0) is None  # readers need no lock
    done.touch()
    process.join()
    with folder.locked(), pytest.raises(BlockingIOError, match=f"process {os.getpid()} "), folder.locked():
        raise AssertionError
    with folder.locked():
        pass


def test_the_lock_ends_with_its_process_and_not_with_forks_of_it(folder):
    """The first process is killed; a fork of it lives on, and holds nothing."""
    here = folder.path.parent

    def first():
        with folder.locked():
            if os.fork() == 0:
                (here / "forked").write_text(str(os.getpid()))
                (here / "forked").rename(here / "orphan")
                time.sleep(60)
                os._exit(0)
            wait_for(here / "orphan")
            os.kill(os.getpid(), signal.SIGKILL)

    process, _ = start(first)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    orphan = int((here / "orphan").read_text())
    try:
        os.kill(orphan, 0)
        with folder.locked():
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_a_lock_whose_process_has_ended_is_waited_for_a_moment(folder, monkeypatch):
    """Whatever that process has started ends a little later."""
    descriptor = os.open(folder.path / "lock", os.O_RDWR)
    _lock.fcntl.flock(descriptor, _lock.fcntl.LOCK_EX)
    ended, _ = start(lambda: None)
    ended.join()
    os.write(descriptor, f"{ended.pid} on {socket.gethostname()}".encode())
    monkeypatch.setattr(_lock, "PATIENCE", 0.0)
    with pytest.raises(BlockingIOError, match=f"in use by process {ended.pid}"), folder.locked():
        raise AssertionError
    monkeypatch.undo()
    timer = threading.Timer(0.1, os.close, [descriptor])
    timer.start()
    with folder.locked():
        timer.join()


def test_a_fork_that_leaves_the_block_leaves_the_lock_alone(folder):
    def leave():
        inner.__exit__(None, None, None)

    inner = folder.locked()
    with folder.locked():
        pass
    inner.__enter__()
    in_a_fork(leave)
    with pytest.raises(BlockingIOError), folder.locked():
        raise AssertionError
    inner.__exit__(None, None, None)
    with folder.locked():
        pass


def test_where_files_cannot_be_locked_a_name_is_the_lock(folder, monkeypatch):
    (folder.path / "lock").unlink()
    monkeypatch.setattr(_lock, "fcntl", None)
    with folder.locked():
        text = rf"in use by process {os.getpid()} on .*; if that has ended, remove {folder.path / 'lock'}"
        with pytest.raises(BlockingIOError, match=text), folder.locked():
            raise AssertionError
    with folder.locked():
        pass


def test_a_file_system_without_locks_is_told(folder, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_lock.fcntl, "flock", none)
    with pytest.warns(UserWarning, match="knows no locks: see to it that no second run writes here"), folder.locked():
        pass


# ---- kills


def rows(chains, steps):
    """Draws that a step's number determines: ``[chain, draw, 300]``."""
    return (1000.0 * torch.tensor(chains)[:, None, None] + torch.tensor(steps)[:, None]).repeat(1, 1, 300)


def go_on(path, part, chains):
    """What a run does: from the last state on, draws in uneven lots, then the state that names them."""
    folder, store = Folder.open(path), Store.open(path / "draws")
    at, _ = folder.read_state(part) or (0, None)
    store.drop(chains, at)
    rng = random.Random(at)
    while at < store.draws:
        step = min(at + rng.randrange(1, 40), store.draws)
        store.write(chains, at, {"w": rows(chains, range(at, step))}, {"lp": rows(chains, range(at, step))[..., 0]})
        if rng.random() < 0.5:
            store.sync()
            folder.write_state(part, step, {"step": step, "x": torch.full((1000,), float(step))})
        at = step


def killed_at(seconds, path, part, chains):
    process, _ = start(lambda: go_on(path, part, chains))
    time.sleep(seconds)
    process.kill()
    process.join()


def kill_often(path, times, draws):
    folder = Folder.create(path, ABOUT)
    Store.create(
        path / "draws",
        {"w": Variable((300,), torch.float32)},
        chains=4,
        draws=draws,
        stats={"lp": Variable((), torch.float32)},
    )
    rng = random.Random(0)
    steps = []
    for _ in range(times):
        killed_at(rng.uniform(0.02, 0.1), path, 0, range(2))
        step, state = folder.read_state(0) or (0, {"step": 0, "x": torch.zeros(1000)})
        assert state["step"] == step and torch.equal(state["x"], torch.full((1000,), float(step)))
        assert not steps or step >= steps[-1]
        steps.append(step)
        held = Store.open(path / "draws")
        assert torch.equal(torch.as_tensor(held.sites["w"][:2, :step]), rows(range(2), range(step)))
        assert torch.equal(torch.as_tensor(held.stats["lp"][:2, :step]), rows(range(2), range(step))[..., 0])
        if step == draws:
            break
    in_a_fork(lambda: go_on(path, 0, range(2)))
    assert torch.equal(torch.as_tensor(Store.open(path / "draws").sites["w"][:2]), rows(range(2), range(draws)))
    return steps


def test_nothing_that_a_state_names_is_lost_by_a_kill(tmp_path):
    kill_often(tmp_path / "run", 4, 400)


@pytest.mark.slow
def test_nothing_that_a_state_names_is_lost_by_many_kills(tmp_path):
    steps = kill_often(tmp_path / "run", 60, 20_000)
    assert len(set(steps)) > 10  # it went on in between


def test_a_state_that_is_read_while_it_is_replaced(folder, monkeypatch):
    folder.write_state(0, 1, tree(1))
    usual = _state.library()

    def slow_once():
        monkeypatch.undo()
        for step in (2, 3):
            folder.write_state(0, step, tree(step))
        return usual

    monkeypatch.setattr(_state, "library", slow_once)
    assert folder.read_state(0)[0] == 3


def test_without_safetensors_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for begin in (lambda: Folder.create(tmp_path / "run", ABOUT), lambda: Folder.open(tmp_path)):
        with pytest.raises(ImportError, match=re.escape('pip install "bnn-zoo[runs]"')):
            begin()
    assert not (tmp_path / "run").exists()


def test_a_file_is_whole_or_not_there(tmp_path):
    write_whole(tmp_path / "a", b"one")
    write_whole(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two" and len(list(tmp_path.iterdir())) == 1

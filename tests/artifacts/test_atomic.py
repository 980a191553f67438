"""Files that are written wholly or not at all."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from unlearnable.artifacts import atomic
from unlearnable.artifacts.atomic import (
    DamagedError,
    Hold,
    complete,
    held,
    make_folder,
    open_checked,
    read_checked,
    set_aside,
    sidecar,
    sweep,
    write_new,
)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path):
    write_new(tmp_path / "deep" / "down" / "x", b"content")
    assert read_checked(tmp_path / "deep" / "down" / "x") == b"content"
    assert names(tmp_path / "deep" / "down") == ["x", "x.sha256"]


def test_the_sidecar_is_what_sha256sum_checks(tmp_path):
    write_new(tmp_path / "x", b"content")
    assert sidecar(tmp_path / "x").read_text().startswith("# 7 bytes\n")
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "x.sha256"], cwd=tmp_path, check=True)


def test_a_name_that_is_taken_is_not_overwritten(tmp_path):
    write_new(tmp_path / "x", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")
    assert read_checked(tmp_path / "x") == b"first"
    assert names(tmp_path) == ["x", "x.sha256"]


def test_a_file_that_lost_its_sidecar_is_not_overwritten_either(tmp_path):
    (tmp_path / "x").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert names(tmp_path) == ["x"]


def test_a_sidecar_that_a_kill_left_alone_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "PATIENCE_S", 0.1)
    sidecar(tmp_path / "x").write_text("of another content")
    write_new(tmp_path / "x", b"content")
    assert read_checked(tmp_path / "x") == b"content"


def test_of_eight_that_write_one_name_one_succeeds(tmp_path):
    def write(number):
        try:
            write_new(tmp_path / "x", bytes([number]) * 1000)
        except FileExistsError:
            return None
        return number

    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            [winner] = [number for number in pool.map(write, range(8)) if number is not None]
        assert read_checked(tmp_path / "x") == bytes([winner]) * 1000
        assert names(tmp_path) == ["x", "x.sha256"]
        atomic.remove(tmp_path / "x")


class Faulty:
    """The module ``os``, of which the n-th of some calls fails."""

    def __init__(self, fails: int, error: OSError) -> None:
        self.calls, self.fails, self.error = 0, fails, error
        self.names: list[str] = []

    def __getattr__(self, name):
        found = getattr(os, name)
        return self._counted(found) if name in ("open", "write", "fsync", "link") else found

    def _counted(self, function):
        def call(*arguments, **options):
            self.calls += 1
            self.names.append(f"link {arguments[1].name}" if function is os.link else function.__name__)
            if self.calls == self.fails:
                raise self.error
            return function(*arguments, **options)

        return call


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """What no test sees but after a power cut: both files are synced, then linked, the sidecar first, then their folder is synced."""
    faulty = Faulty(0, OSError())
    monkeypatch.setattr(atomic, "os", faulty)
    write_new(tmp_path / "x", b"content")
    staged = ["open", "write", "fsync"]
    assert faulty.names == [*staged, *staged, "link x.sha256", "link x", "open", "fsync"]


@pytest.mark.parametrize("number", [28, 5, 24], ids=["disk full", "input or output error", "too many open files"])
def test_whichever_call_fails_a_write_is_all_or_nothing(number, tmp_path, monkeypatch):
    for n in range(1, 100):
        folder = tmp_path / str(n)
        monkeypatch.setattr(atomic, "os", Faulty(n, OSError(number, os.strerror(number))))
        try:
            write_new(folder / "x", b"content")
            whole = True
        except OSError:
            whole = False
        monkeypatch.setattr(atomic, "os", os)
        if whole:
            break
        # the last sync may fail after the link: then all is there, though nobody was told
        assert not folder.exists() or names(folder) in ([], ["x", "x.sha256"])
        assert not (folder / "x").exists() or read_checked(folder / "x") == b"content"
        if not (folder / "x").exists():
            write_new(folder / "x", b"content")
    assert whole
    assert n > 10


def test_temporaries_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".x.0123.tmp").write_bytes(b"half")
    hold = Hold(tmp_path / "deep")
    assert held(tmp_path / "deep")
    assert sweep(tmp_path) in (0, 1)  # `held` removed the dead one already
    assert len(names(tmp_path / "deep")) == 1
    hold.let_go()
    hold.let_go()
    assert not held(tmp_path / "deep")
    assert names(tmp_path / "deep") == []


def test_a_sweep_counts_what_it_removes(tmp_path):
    (tmp_path / ".x.0123.tmp").touch()
    (tmp_path / "x").touch()
    hold = Hold(tmp_path)
    assert sweep(tmp_path) == 1
    hold.let_go()
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("note", [None, "", "hello", "# 7 bytes\n", f"# 7 bytes\n{'0' * 64}  y\n", f"# 8 bytes\n{'0' * 64}  x\n"])
def test_a_file_with_a_wrong_sidecar_is_not_complete(note, tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    if note is not None:
        sidecar(tmp_path / "x").write_text(note)
    assert not complete(tmp_path / "x")
    with pytest.raises(DamagedError, match=r"x.*: expected .*, got "):
        read_checked(tmp_path / "x")


def test_a_large_file_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "LARGE", 4)
    write_new(tmp_path / "x", b"content")
    assert open_checked(tmp_path / "x")[:] == b"content"
    (tmp_path / "x").write_bytes(b"c0ntent")
    with pytest.raises(DamagedError, match="expected the SHA-256"):
        open_checked(tmp_path / "x")


def test_a_folder_or_a_pipe_is_not_complete(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert not complete(tmp_path / "folder")
    assert not complete(tmp_path / "pipe")


def test_what_is_set_aside_may_be_gone_already(tmp_path):
    write_new(tmp_path / "x", b"content")
    assert set_aside(tmp_path / "x").read_bytes() == b"content"
    set_aside(tmp_path / "x")
    assert names(tmp_path) == ["x.damaged", "x.damaged.sha256"]


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(OSError, match="x"):
        make_folder(tmp_path / "x" / "y")


def test_a_hold_that_cannot_be_had_says_so_and_no_more(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(OSError, match="x"):
        Hold(tmp_path / "x" / "y")

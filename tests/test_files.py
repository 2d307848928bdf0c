"""Files that are whole or not there: what `secagg.files` promises to those that write them."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from other_systems import become_windows, without_hard_links

from secagg.files import atomic_file


def write(
    path: Path, content: str, *, overwrite: bool, meanwhile: Callable[[], object] = bool
) -> None:
    """Writes a file, and has something else happen before the block ends."""
    with atomic_file(path, overwrite=overwrite) as draft:
        assert draft.parent == path.parent
        assert not draft.exists()
        draft.write_text(content)
        meanwhile()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_gets_its_name_when_it_is_whole(memory_path: Path, overwrite: bool) -> None:
    path, seen = memory_path / "file", list[bool]()
    write(path, "new", overwrite=overwrite, meanwhile=lambda: seen.append(path.exists()))
    assert seen == [False]
    assert path.read_text() == "new"
    assert list(memory_path.iterdir()) == [path]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("old", ["old", None])
def test_a_block_that_fails_changes_nothing(
    memory_path: Path, old: str | None, overwrite: bool
) -> None:
    path = memory_path / "file"
    if old is not None:
        path.write_text(old)
    before = list(memory_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(path, "half", overwrite=overwrite, meanwhile=interrupt)
    assert list(memory_path.iterdir()) == before
    assert old is None or path.read_text() == old


@pytest.mark.parametrize(
    "no_links", [None, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK, errno.EINVAL]
)
def test_a_name_that_is_taken(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, no_links: int | None
) -> None:
    """Also while the block runs, and by a link that leads nowhere; with and without hard links."""
    if no_links is not None:
        without_hard_links(monkeypatch, no_links)
    path, link = memory_path / "file", memory_path / "link"
    link.symlink_to(memory_path / "nowhere")
    with pytest.raises(FileExistsError):
        write(path, "mine", overwrite=False, meanwhile=lambda: path.write_text("faster"))
    with pytest.raises(FileExistsError):
        write(link, "mine", overwrite=False)
    assert path.read_text() == "faster"
    assert {each.name for each in memory_path.iterdir()} == {"file", "link"}
    write(path, "mine", overwrite=True)
    write(memory_path / "free", "mine", overwrite=False)
    assert path.read_text() == (memory_path / "free").read_text() == "mine"
    assert len([*memory_path.iterdir()]) == 3


def test_without_hard_links_a_failure_leaves_nothing(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The empty file that holds the name goes as well."""
    without_hard_links(monkeypatch)

    def replace(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input/output"):
        write(memory_path / "file", "mine", overwrite=False)
    assert list(memory_path.iterdir()) == []


@pytest.mark.parametrize("stalls", ["lstat", "replace"])
def test_without_hard_links_the_file_of_another_stays(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, stalls: str
) -> None:
    """It removed the empty file and made its own meanwhile; or this one was done, and others use
    it, when a signal came."""
    without_hard_links(monkeypatch)
    path, real = memory_path / "file", getattr(Path, stalls)

    def stall(file: Path, *arguments: Path) -> object:
        monkeypatch.setattr(Path, stalls, real)
        if stalls == "lstat":
            path.unlink()
            path.write_text("theirs")
            return real(file)
        real(file, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, stalls, stall)
    with pytest.raises(FileExistsError if stalls == "lstat" else KeyboardInterrupt):
        write(path, "mine", overwrite=False)
    assert path.read_text() == ("theirs" if stalls == "lstat" else "mine")
    assert list(memory_path.iterdir()) == [path]


def test_a_rename_of_windows_replaces_nothing(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it needs no empty file, where there are no hard links."""
    become_windows(monkeypatch)
    without_hard_links(monkeypatch)
    write(memory_path / "file", "mine", overwrite=False)
    with pytest.raises(FileExistsError):
        write(memory_path / "file", "other", overwrite=False)
    assert [path.read_text() for path in memory_path.iterdir()] == ["mine"]


def test_a_link_is_replaced_not_followed(memory_path: Path) -> None:
    target, link = memory_path / "target", memory_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write(link, "new", overwrite=True)
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_name_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """The folder is synced when it has the name."""
    path, synced = tmp_path / "file", list[bool]()

    def fsync(file: int) -> None:
        assert stat.S_ISDIR(os.fstat(file).st_mode)
        assert os.path.samestat(os.fstat(file), tmp_path.stat())
        synced.append(path.exists())

    monkeypatch.setattr(os, "fsync", fsync)
    write(path, "new", overwrite=overwrite)
    assert synced == [True]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("step", ["open", "fsync"])
@pytest.mark.parametrize(
    ("number", "tolerated"),
    [
        *((each, True) for each in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)),
        *((errno.EIO, False), (errno.ENOSPC, False)),
    ],
)
def test_a_folder_that_cannot_be_synced(
    memory_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overwrite: bool,
    step: str,
    number: int,
    tolerated: bool,
) -> None:
    """If its file system cannot do that, nothing is wrong; if it fails, that is said."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    with (
        contextlib.nullcontext() if tolerated else pytest.raises(OSError, match=r"\[Errno"),
        atomic_file(memory_path / "file", overwrite=overwrite) as draft,
    ):
        draft.symlink_to("content")  # opens no file
    assert [path.name for path in memory_path.iterdir()] == ["file"]

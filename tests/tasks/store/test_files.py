"""Writing files: complete or absent, and a full disk that is reported as such."""

import errno
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from tag2mask.tasks.store.files import (
    NoRoomOnDisk,
    disk_full_as_error,
    parts_below,
    read_json,
    sync_files,
    write_file,
    write_json,
)

Usage = namedtuple("Usage", "total used free")


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A write that fails half way leaves the file as it was, and no part of a file beside it."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyError("no more")

    with pytest.raises(KeyError):
        write_file(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_reader_sees_one_whole_file_while_threads_write_it(tmp_path: Path) -> None:
    """Whoever reads a file that several threads write sees what one of them wrote, whole."""
    path, seen = tmp_path / "a", set()
    texts = [letter * 100_000 for letter in (b"a", b"b", b"c")]
    write_file(path, lambda file: file.write(texts[0]))

    def write(text: bytes) -> None:
        for _ in range(30):
            write_file(path, lambda file: file.write(text))

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())
    assert seen <= set(texts)


@pytest.mark.parametrize("durably", [False, True])
def test_longest_name_that_the_system_allows_can_be_written(tmp_path: Path, durably: bool) -> None:
    """A name of 255 bytes is written, in folders that do not exist yet."""
    path = tmp_path / "b" / "c" / ("x" * 255)
    write_file(path, lambda file: file.write(b"1"), durably=durably)
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota")],
)
def test_full_disk_is_reported_with_folder_and_remedy(tmp_path: Path, error: OSError) -> None:
    """A full disk or a used-up quota ends in an error that names the folder and what to do, wherever it is noticed."""
    folder = tmp_path / "not" / "there"
    with pytest.raises(NoRoomOnDisk, match=rf"{folder}.*tag2mask gc"), disk_full_as_error(folder):
        raise error


@pytest.mark.parametrize(
    "error",
    [OSError("8388608 requested and 12 written"), RuntimeError("failed writing file data/2: file write failed")],
)
def test_short_write_without_errno_is_a_full_disk_only_where_nothing_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    """The short writes that numpy and torch report without errno count as a full disk only if the disk is full."""
    with pytest.raises(type(error), match="writ"), disk_full_as_error(tmp_path):
        raise error
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 0))
    with pytest.raises(NoRoomOnDisk), disk_full_as_error(tmp_path):
        raise error


def test_other_errors_pass_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Errors that have nothing to do with writing stay what they are, even on a full disk."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 0))
    for error in (RuntimeError("shapes do not match"), FileNotFoundError(errno.ENOENT, "gone"), ValueError("writing")):
        with pytest.raises(type(error)) as caught, disk_full_as_error(tmp_path):
            raise error
        assert caught.value is error


def test_json_comes_back_and_bad_json_is_named(tmp_path: Path) -> None:
    """JSON is read back as written; numbers that JSON lacks and bytes that are none are errors that name the file."""
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2.5, "é"], "a": None})
    assert read_json(path) == {"a": None, "b": [1, 2.5, "é"]}
    with pytest.raises(ValueError, match=r"a\.json.*JSON"):
        write_json(path, float("nan"))
    assert read_json(path)["b"][0] == 1
    for content in (b"{", b"", b"\xff\xfe", b'{"loss": NaN}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.json.*JSON"):
            read_json(path)


def test_parts_of_killed_writers_are_found(tmp_path: Path) -> None:
    """Files that a killed process had begun are found in all folders, other hidden files are not."""
    begun = [tmp_path / "a" / ".123.part", tmp_path / ".resume" / ".77.part"]
    for path in [*begun, tmp_path / ".hidden", tmp_path / "a" / "b.part"]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert parts_below(tmp_path) == sorted(begun)


def test_syncing_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """A file that should be forced to the disk but is not there is an error that names it."""
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        sync_files([tmp_path / "gone.bin"])

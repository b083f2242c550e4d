"""What the disk does to the store: interrupted attempts, no room, no leave to write."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from unittest.mock import Mock

import pytest

from tag2mask.tasks.store.files import NoRoomOnDisk
from tag2mask.tasks.store.journal import finished_items, record_items
from tag2mask.tasks.store.store import Store, StoreNotWritable
from tests.tasks.store.build_bench import own_mounts
from tests.tasks.store.toy_artifacts import FILES, RECIPE, build_with, find, make
from tests.tasks.store.toy_stages import Toy, contents, draw_images, start_child

Usage = namedtuple("Usage", "total used free")


def test_interrupted_attempt_is_handed_to_the_next(store: Store) -> None:
    """What an attempt leaves is there for the next; files begun by a killed writer and `.resume` do not come along."""

    def fail(out: Path) -> None:
        make(out, {"first": b"1", ".resume/checkpoint": b"2", "sub/.123.part": b"3", ".9.part": b"4"})
        record_items(out, {"first": [out / "first"]})
        raise KeyError("stop")

    def resume(out: Path) -> None:
        assert (out / ".resume" / "checkpoint").read_bytes() == b"2" and finished_items(out) == ["first"]
        make(out, {"second": b"5"})

    with pytest.raises(KeyError):
        build_with(store, RECIPE, fail)
    assert find(store) is None
    assert contents(build_with(store, RECIPE, resume)) == {"first": b"1", "second": b"5"}


def test_only_what_the_stage_wrote_is_sealed(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What others add to a half-made result, before or while it is made, is named and set aside, links as links."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own.png").write_bytes(b"own")
    (tmp_path / "items").write_text('{"a": "b"}')
    work_dir = store.work_dir("toy", RECIPE.key)
    (work_dir / "masks").mkdir(parents=True)
    (work_dir / "masks" / "left.png").write_bytes(b"before")
    (work_dir / "items.json").symlink_to(tmp_path / "items")

    def disturbed(out: Path) -> None:
        make(out)
        (out / "sub" / "added.png").write_bytes(b"meanwhile")
        (out / "linked").symlink_to(tmp_path / "elsewhere")

    made = build_with(store, RECIPE, disturbed)
    foreign = ["items.json", "linked/own.png", "masks/left.png", "sub/added.png"]
    assert contents(made) == FILES and made.manifest["left_out"] == foreign and made.images == 0
    assert find(store, reread=True) == made and not (made.path / "masks").exists()
    (aside,) = (store.root / ".trash").iterdir()
    assert f"{work_dir}: {', '.join(foreign)}: not written by the stage, and left out; moved to {aside}" in caplog.text
    assert (aside / "masks/left.png").read_bytes() == b"before" and (aside / "linked").is_symlink()
    assert (tmp_path / "elsewhere" / "own.png").read_bytes() == b"own"
    (store.path_of("toy", RECIPE.key) / "manifest.json").unlink()
    store.set_aside("toy", RECIPE.key)
    assert build_with(store, RECIPE, make).digest == made.digest


@pytest.mark.parametrize("damaged", [False, True])
def test_attempt_that_got_as_far_as_its_manifest_is_only_moved_to_its_place(
    monkeypatch: pytest.MonkeyPatch, store: Store, damaged: bool
) -> None:
    """If only the rename was missing, the stage does not run again, unless a finished file was damaged meanwhile."""
    calls = []

    def counted(out: Path) -> None:
        calls.append(out)
        make(out)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "_commit", Mock(side_effect=KeyboardInterrupt))
        build_with(store, RECIPE, counted)
    if damaged:
        (store.work_dir("toy", RECIPE.key) / "a.bin").write_bytes(b"aaab")
    assert contents(build_with(store, RECIPE, counted)) == FILES
    assert len(calls) == 1 + damaged
    assert find(store, reread=True) is not None


def test_full_disk_before_the_start_is_reported_and_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    """With less than 200 MiB free no stage starts, and the error says how much is free and what to do."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 0, 100 * 2**20))
    with pytest.raises(NoRoomOnDisk, match=r"only 100 MiB free.*200 MiB.*toy.*tag2mask gc"):
        build_with(store, RECIPE, lambda out: pytest.fail("it was started"))


def test_full_disk_inside_a_stage_is_reported_and_can_be_resumed(store: Store) -> None:
    """A full disk inside a stage, however it writes, is reported; what is finished is kept for the next attempt."""

    def fill(out: Path) -> None:
        make(out, {"a": b"1"})
        record_items(out, {"a": [out / "a"]})
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "b"))

    with pytest.raises(NoRoomOnDisk, match=r"run again; finished work is kept"):
        build_with(store, RECIPE, fill)
    assert contents(build_with(store, RECIPE, lambda out: make(out, {"b": b"2"}))) == {"a": b"1", "b": b"2"}


def test_really_full_disk_is_reported_and_resumed(tmp_path: Path) -> None:
    """A stage and numpy's writing run out of room on 2 MiB, say so, and leave no half file; with room it ends."""
    images = draw_images(tmp_path / "images", range(6))
    (tmp_path / "mount").mkdir()
    config, log = Toy(size=120_000, log=str(tmp_path / "log")), tmp_path / "log"
    child = start_child("fill", tmp_path / "mount", images, config.model_dump_json(), False, within=own_mounts())
    lines = (child.communicate()[0]).splitlines()
    assert child.returncode == 0
    assert [line.split()[0] for line in lines[:3]] == ["ready", "NoRoomOnDisk", "NoRoomOnDisk"]
    assert lines[3] == "['ballast', 'store']"
    processed = log.read_text().split()
    assert len(processed) - len(set(processed)) < 4
    undisturbed = start_child("build", tmp_path / "other", images, config.model_dump_json(), False)
    assert undisturbed.communicate("go\n")[0].split() == ["ready", lines[4]]


def test_read_only_store_can_be_searched_and_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    """On a read-only disk results are found; building ends in an error that names the folder and the setting."""
    images = draw_images(tmp_path / "images", range(2))
    (tmp_path / "mount").mkdir()
    config = Toy().model_dump_json()
    child = start_child("read-only", tmp_path / "mount", images, config, False, within=own_mounts())
    lines = child.communicate()[0].splitlines()
    assert child.returncode == 0 and lines[0] == "True"
    for line, folder in zip(lines[1:], ("store", "new"), strict=True):
        assert line.startswith(f"StoreNotWritable the artifact folder {tmp_path}/mount/{folder} cannot be written")
        assert "another one with --root" in line


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A store cannot be made where a file stands; the error names it."""
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreNotWritable, match=rf"{root} .*another one with --root"):
            Store(root).create()

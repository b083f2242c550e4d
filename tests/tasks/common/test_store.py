"""The store: complete or absent, sound or noticed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tag2mask.tasks.common import digests as digests_module
from tag2mask.tasks.common.durable import NoRoomOnDisk
from tag2mask.tasks.common.store import Artifact, DamagedArtifact, Recipe, Store, StoreNotWritable
from tests.tasks.common.toy_stages import Toy, contents, draw_photographs, start_child

RECIPE = Recipe("toy", 1, {"threshold": 0.5}, {"index": "d" * 64})
FILES = {"a.bin": b"aaaa", "sub/b.bin": bytes(1000), "empty": b"", "metrics.json": b'{"iou": 0.25}'}
Usage = namedtuple("Usage", "total used free")


def make(out: Path, files: dict[str, bytes] = FILES) -> None:
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no test cuts the power
    return Store(tmp_path / "artifacts")


@pytest.fixture
def made(store: Store) -> Artifact:
    return store.build(RECIPE, make)


def find(store: Store, *, reread: bool = False) -> Artifact | None:
    return store.find(RECIPE.stage, RECIPE.key, reread=reread)


def test_key_depends_on_everything_in_the_recipe_and_on_no_order() -> None:
    """Stage, version, settings and input digests each change the key; the order of names does not."""
    others = [
        Recipe("toys", 1, {"threshold": 0.5}, {"index": "d" * 64}),
        Recipe("toy", 2, {"threshold": 0.5}, {"index": "d" * 64}),
        Recipe("toy", 1, {"threshold": 0.6}, {"index": "d" * 64}),
        Recipe("toy", 1, {"threshold": 0.5}, {"index": "e" * 64}),
        Recipe("toy", 1, {"threshold": 0.5}, {"model": "d" * 64}),
    ]
    assert len({RECIPE.key, *(other.key for other in others)}) == 6
    assert RECIPE.key == "9ace70369c7ed1a99d29"
    swapped = Recipe("toy", 1, {"a": 1, "b": 2}, {})
    assert swapped.key == Recipe("toy", 1, {"b": 2, "a": 1}, {}).key


def test_result_is_found_with_its_manifest(store: Store) -> None:
    """A built result is found with the same bytes and a manifest that tells recipe, files, size, metrics and more."""
    assert find(store) is None
    made = store.build(RECIPE, make, about={"reused_images": 3})
    assert find(store) == find(store, reread=True) == made
    assert contents(made) == FILES
    assert made.path == store.root / "toy" / RECIPE.key and made.label == f"toy/{RECIPE.key}"
    assert made.manifest["recipe"] == RECIPE.as_json()
    assert made.manifest["bytes"] == sum(map(len, FILES.values()))
    assert made.manifest["metrics"] == {"iou": 0.25} and made.manifest["reused_images"] == 3
    assert not made.items and not list((store.root / ".work").glob("*/*"))


def remove_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "flipped bit": ("sub/b.bin", lambda folder: (folder / "sub/b.bin").write_bytes(bytes(500) + b"\1" + bytes(499))),
    "truncated": ("sub/b.bin", lambda folder: os.truncate(folder / "sub/b.bin", 999)),
    "emptied": ("a.bin", lambda folder: os.truncate(folder / "a.bin", 0)),
    "lengthened": ("empty", lambda folder: (folder / "empty").write_bytes(b"1")),
    "removed": ("a.bin", lambda folder: (folder / "a.bin").unlink()),
    "folder removed": ("sub/b.bin", lambda folder: shutil.rmtree(folder / "sub")),
    "added": ("sub/new.png", lambda folder: (folder / "sub/new.png").touch()),
    "renamed": ("a.bin", lambda folder: (folder / "a.bin").rename(folder / "c.bin")),
    "turned into a folder": ("a.bin", lambda folder: turn_into_folder(folder / "a.bin")),
    "manifest removed": ("manifest.json", lambda folder: (folder / "manifest.json").unlink()),
    "manifest truncated": ("manifest.json", lambda folder: os.truncate(folder / "manifest.json", 100)),
    "manifest emptied": ("manifest.json", lambda folder: os.truncate(folder / "manifest.json", 0)),
    "manifest of another kind": ("manifest.json", lambda folder: (folder / "manifest.json").write_text("[1]")),
    "manifest without seal": ("manifest.json", lambda folder: (folder / "manifest.json").write_text("{}")),
    "all removed": ("manifest.json", remove_files),
}


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_named(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact, damage: str, reread: bool
) -> None:
    """Whatever happens to a file of a result, the result is refused with the file's name, and can be rebuilt."""
    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    assert find(store) == made  # remembered from here on
    name, inflict = DAMAGES[damage]
    inflict(made.path)
    with pytest.raises(DamagedArtifact, match=rf"toy/{RECIPE.key}: {name}"):
        find(store, reread=reread)
    aside = store.set_aside("toy", RECIPE.key)
    assert aside.is_dir() and find(store) is None
    assert contents(store.build(RECIPE, make)) == FILES and find(store, reread=True) is not None


def test_every_flipped_bit_of_a_manifest_is_noticed(store: Store, made: Artifact) -> None:
    """There is no bit of a manifest whose change goes unnoticed."""
    path = made.path / "manifest.json"
    sound = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(len(sound)):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([sound[place] ^ 1 << bit]), place)
                with pytest.raises(DamagedArtifact, match=r"manifest\.json"):
                    find(store)
            os.pwrite(file.fileno(), sound[place : place + 1], place)
    assert find(store) == made


def test_replaced_file_of_the_same_size_and_time_is_noticed(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact
) -> None:
    """A file replaced by another of the same size and modification time is noticed without reading all bytes anew."""
    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    assert find(store) == made
    path = made.path / "a.bin"
    stat = path.stat()
    (store.root / "other").write_bytes(b"aaab")
    os.utime(store.root / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(store.root / "other", path)
    with pytest.raises(DamagedArtifact, match=r"a\.bin"):
        find(store)


def test_copy_of_a_result_under_another_name_is_refused(store: Store, made: Artifact) -> None:
    """A result copied or renamed to another key or stage is not taken for that one."""
    shutil.copytree(made.path, store.home("toy", "0" * 20))
    shutil.copytree(made.path, store.home("other", RECIPE.key))
    for stage, key in (("toy", "0" * 20), ("other", RECIPE.key)):
        with pytest.raises(DamagedArtifact, match=f"is that of toy/{RECIPE.key}"):
            store.find(stage, key)


def test_damaged_memory_does_not_damn_a_sound_result(
    monkeypatch: pytest.MonkeyPatch, store: Store, made: Artifact
) -> None:
    """A wrong remembered digest is found out by reading the file, and forgotten."""
    import sqlite3

    monkeypatch.setattr(digests_module, "RACY_NANOSECONDS", 0)
    time.sleep(0.01)
    find(store)
    with sqlite3.connect(store.root / ".digests.sqlite") as memory:
        assert memory.execute("update files set digest = 'wrong'").rowcount == len(FILES)
    memory.close()
    assert find(store) == made
    assert store.digests.of_files({"a.bin": made.path / "a.bin"})["a.bin"] == made.manifest["files"]["a.bin"]


def test_interrupted_attempt_is_handed_to_the_next(store: Store) -> None:
    """What an attempt leaves is there for the next; files begun by a killed writer and `.resume` do not come along."""

    def fail(out: Path) -> None:
        make(out, {"first": b"1", ".resume/checkpoint": b"2", "sub/.123.part": b"3", ".9.part": b"4"})
        raise KeyError("stop")

    def resume(out: Path) -> None:
        assert (out / ".resume" / "checkpoint").read_bytes() == b"2"
        make(out, {"second": b"5"})

    with pytest.raises(KeyError):
        store.build(RECIPE, fail)
    assert find(store) is None
    assert contents(store.build(RECIPE, resume)) == {"first": b"1", "second": b"5"}


@pytest.mark.parametrize("damaged", [False, True])
def test_attempt_that_got_as_far_as_its_manifest_is_only_brought_home(
    monkeypatch: pytest.MonkeyPatch, store: Store, damaged: bool
) -> None:
    """If only the rename was missing, the stage does not run again, unless a finished file was damaged meanwhile."""
    calls = []

    def counted(out: Path) -> None:
        calls.append(out)
        make(out)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "_bring_home", Mock(side_effect=KeyboardInterrupt))
        store.build(RECIPE, counted)
    if damaged:
        (store.workshop("toy", RECIPE.key) / "a.bin").write_bytes(b"aaab")
    assert contents(store.build(RECIPE, counted)) == FILES
    assert len(calls) == 1 + damaged
    assert find(store, reread=True) is not None


def test_full_disk_before_the_start_is_told_and_nothing_is_done(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """With less than 200 MiB free no stage starts, and the error says how much is free and what to do."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 0, 100 * 2**20))
    with pytest.raises(NoRoomOnDisk, match=r"only 100 MiB free.*200 MiB.*toy.*tag2mask gc"):
        store.build(RECIPE, lambda out: pytest.fail("it was started"))


def test_full_disk_inside_a_stage_is_told_and_can_be_resumed(store: Store) -> None:
    """A full disk inside a stage, however it writes, is told as such; what is finished is kept for the next attempt."""

    def fill(out: Path) -> None:
        make(out, {"a": b"1"})
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "b"))

    with pytest.raises(NoRoomOnDisk, match=r"run again; finished work is kept"):
        store.build(RECIPE, fill)
    assert contents(store.build(RECIPE, lambda out: make(out, {"b": b"2"}))) == {"a": b"1", "b": b"2"}


def own_mounts() -> tuple[str, ...]:
    """Command that starts a program with mounts of its own; skips where the system does not allow that."""
    command = ("unshare", "-rm")
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("the system does not let this user mount a small disk")
    return command


def test_really_full_disk_is_told_and_resumed(tmp_path: Path) -> None:
    """A stage and numpy's writing run out of room on 2 MiB, say so, and leave no half file; with room it ends."""
    photographs = draw_photographs(tmp_path / "photographs", range(6))
    (tmp_path / "mount").mkdir()
    config, log = Toy(size=120_000, log=str(tmp_path / "log")), tmp_path / "log"
    child = start_child("fill", tmp_path / "mount", photographs, config.model_dump_json(), False, within=own_mounts())
    lines = (child.communicate()[0]).splitlines()
    assert child.returncode == 0
    assert [line.split()[0] for line in lines[:3]] == ["ready", "NoRoomOnDisk", "NoRoomOnDisk"]
    assert lines[3] == "['ballast', 'store']"
    processed = log.read_text().split()
    assert len(processed) - len(set(processed)) < 4
    undisturbed = start_child("build", tmp_path / "other", photographs, config.model_dump_json(), False)
    assert undisturbed.communicate("go\n")[0].split() == ["ready", lines[4]]


def test_read_only_store_can_be_searched_and_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    """On a read-only disk results are found; building ends in an error that names the folder and the setting."""
    photographs = draw_photographs(tmp_path / "photographs", range(2))
    (tmp_path / "mount").mkdir()
    config = Toy().model_dump_json()
    child = start_child("read-only", tmp_path / "mount", photographs, config, False, within=own_mounts())
    lines = child.communicate()[0].splitlines()
    assert child.returncode == 0 and lines[0] == "True"
    for line, folder in zip(lines[1:], ("store", "new"), strict=True):
        assert line.startswith(f"StoreNotWritable the artifact folder {tmp_path}/mount/{folder} cannot be written")
        assert "`root`" in line


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A store cannot be opened where a file stands; the error names it."""
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreNotWritable, match=str(root)):
            Store(root)


def test_locks_exclude_each_other(store: Store) -> None:
    """An exclusive lock excludes all others, shared ones go together, other names are free, blocks end their locks."""
    with store.lock("a"):
        for shared in (False, True):
            with pytest.raises(BlockingIOError), store.lock("a", shared=shared, wait=False):
                pass
        with store.lock("b", wait=False):
            pass
    with store.lock("a", shared=True), store.lock("a", shared=True, wait=False):
        with pytest.raises(BlockingIOError), store.lock("a", wait=False):
            pass
    with store.lock("a", wait=False):
        pass


def test_killed_holder_gives_its_lock_back_although_a_worker_outlives_it(store: Store) -> None:
    """A lock is free once its holder was killed, even while a worker that it had forked lives on."""
    child = start_child("hold", store.root, store.root, "{}", False)
    assert child.stdout is not None
    worker = int(child.stdout.readline())
    try:
        with pytest.raises(BlockingIOError), store.lock("held", wait=False):
            pass
        child.kill()
        child.wait()
        with store.lock("held", wait=False):
            os.kill(worker, 0)  # it lives
    finally:
        os.kill(worker, signal.SIGKILL)
        child.stdout.close()


def test_forced_rebuild_with_equal_bytes_leaves_the_files_in_place(store: Store, made: Artifact) -> None:
    """Rebuilt with the same bytes, a result keeps its files and gets the new manifest, while others read it."""
    inodes = {path: path.stat().st_ino for path in made.path.rglob("*") if path.name != "manifest.json"}
    with store.lock(f"use-toy-{RECIPE.key}", shared=True):
        again = store.build(RECIPE, make, about={"attempt": 2}, afresh=True)
    assert again.digest == made.digest and again.manifest["attempt"] == 2
    assert find(store, reread=True) == again
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert not list((store.root / ".work").glob("*/*"))


def test_forced_rebuild_of_a_damaged_result_replaces_it(store: Store, made: Artifact) -> None:
    """A damaged result is replaced by its rebuild, although their digests are equal on paper."""
    (made.path / "a.bin").write_bytes(b"bbbb")
    store.build(RECIPE, make, afresh=True)
    assert contents(find(store, reread=True) or made) == FILES


def test_forced_rebuild_with_other_bytes_waits_until_nobody_reads_the_old_ones(store: Store, made: Artifact) -> None:
    """A result is replaced by other bytes only after those who build from it have ended; the old one is set aside."""
    rebuild = threading.Thread(
        target=store.build, args=(RECIPE, lambda out: make(out, {"a.bin": b"new"})), kwargs={"afresh": True}
    )
    with store.lock(f"use-toy-{RECIPE.key}", shared=True):
        rebuild.start()
        rebuild.join(0.3)
        assert rebuild.is_alive() and contents(made) == FILES
    rebuild.join(10)
    found = find(store, reread=True)
    assert found is not None and contents(found) == {"a.bin": b"new"} and found.digest != made.digest
    assert [path.name.split("-")[0] for path in (store.root / ".damaged").iterdir()] == ["toy"]


def test_afresh_takes_nothing_from_an_interrupted_attempt(store: Store) -> None:
    """A result built afresh holds nothing that an earlier attempt left."""
    make(store.workshop("toy", RECIPE.key), {"stale": b"1", ".resume/checkpoint": b"2"})
    assert contents(store.build(RECIPE, make, afresh=True)) == FILES


def test_journaled_file_that_changes_before_the_end_is_noticed(store: Store) -> None:
    """A file of a finished image that changes before the result is sealed ends the attempt; the next makes it anew."""
    from tag2mask.tasks.common.journal import finished_items, process_images, record_items
    from tag2mask.tasks.common.runtime import StageRuntime

    def careless(out: Path) -> None:
        make(out, {"i.bin": b"1"})
        record_items(out, {"i": [out / "i.bin"]})
        make(out, {"i.bin": b"2"})

    def careful(out: Path) -> None:
        assert finished_items(out) == ["i"]
        process_images(["i"], out, lambda ids: iter([("i", [_rewritten(out)])]), StageRuntime(shard=1))

    def _rewritten(out: Path) -> Path:
        make(out, {"i.bin": b"1"})
        return out / "i.bin"

    with pytest.raises(DamagedArtifact, match=r"i\.bin changed"):
        store.build(RECIPE, careless)
    assert contents(store.build(RECIPE, careful)) == {"i.bin": b"1"}


def test_listing_is_by_age_and_leaves_out_what_is_damaged(store: Store) -> None:
    """Results are listed oldest first, of one stage or of all, without those whose manifest cannot be trusted."""
    recipes = [Recipe(stage, version, {}, {}) for stage in ("one", "two") for version in range(3)]
    for number, recipe in enumerate(recipes):
        made = store.build(recipe, make)
        manifest = {**made.manifest, "made": f"2024-01-0{9 - number}T00:00:00Z"}
        manifest["seal"] = digests_module.json_digest({name: manifest[name] for name in manifest if name != "seal"})
        (made.path / "manifest.json").write_text(json.dumps(manifest))
    (store.home("one", recipes[0].key) / "manifest.json").write_text("{}")
    (store.root / "README.md").touch()
    assert [a.label for a in store.artifacts()] == [f"{r.stage}/{r.key}" for r in reversed(recipes[1:])]
    assert [a.stage for a in store.artifacts("one")] == ["one", "one"]

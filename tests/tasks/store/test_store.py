"""The store: complete or absent, sound or noticed."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from tag2mask.tasks.store import digests as digests_module
from tag2mask.tasks.store.store import Artifact, DamagedArtifact, Recipe, Store
from tests.tasks.store.toy_artifacts import FILES, RECIPE, build_with, find, make
from tests.tasks.store.toy_stages import contents, start_child


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
    made = build_with(store, RECIPE, make, about={"reused_images": 3})
    assert find(store) == find(store, reread=True) == made
    assert contents(made) == FILES
    assert made.path == store.root / "toy" / RECIPE.key and made.label == f"toy/{RECIPE.key}"
    assert made.manifest["recipe"] == RECIPE.as_json()
    assert made.manifest["bytes"] == sum(map(len, FILES.values()))
    assert made.manifest["metrics"] == {"iou": 0.25} and made.manifest["reused_images"] == 3
    assert not made.images and not list((store.root / ".work").glob("*/*"))


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
        again = build_with(store, RECIPE, make, about={"attempt": 2}, afresh=True)
    assert again.digest == made.digest and again.manifest["attempt"] == 2
    assert find(store, reread=True) == again
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert not list((store.root / ".work").glob("*/*"))


def test_forced_rebuild_of_a_damaged_result_replaces_it(store: Store, made: Artifact) -> None:
    """A damaged result is replaced by its rebuild, although their digests are equal on paper."""
    (made.path / "a.bin").write_bytes(b"bbbb")
    build_with(store, RECIPE, make, afresh=True)
    assert contents(find(store, reread=True) or made) == FILES


def test_forced_rebuild_with_other_bytes_waits_until_nobody_reads_the_old_ones(store: Store, made: Artifact) -> None:
    """A result is replaced by other bytes only after those who build from it have ended; the old one is set aside."""
    rebuild = threading.Thread(
        target=build_with, args=(store, RECIPE, lambda out: make(out, {"a.bin": b"new"})), kwargs={"afresh": True}
    )
    with store.lock(f"use-toy-{RECIPE.key}", shared=True):
        rebuild.start()
        rebuild.join(0.3)
        assert rebuild.is_alive() and contents(made) == FILES
    rebuild.join(10)
    found = find(store, reread=True)
    assert found is not None and contents(found) == {"a.bin": b"new"} and found.digest != made.digest
    assert [path.name.split("-")[0] for path in (store.root / ".trash").iterdir()] == ["toy"]


def test_afresh_takes_nothing_from_an_interrupted_attempt(store: Store) -> None:
    """A result built afresh holds nothing that an earlier attempt left."""
    make(store.work_dir("toy", RECIPE.key), {"stale": b"1", ".resume/checkpoint": b"2"})
    assert contents(build_with(store, RECIPE, make, afresh=True)) == FILES


def test_journaled_file_that_changes_before_the_end_is_noticed(store: Store) -> None:
    """A file of a finished image that changes before the result is sealed ends the attempt; the next makes it anew."""
    from tag2mask.tasks.executors.images import process_images
    from tag2mask.tasks.store.journal import finished_items, record_items
    from tag2mask.tasks.store.runtime import StageRuntime

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
        build_with(store, RECIPE, careless)
    assert contents(build_with(store, RECIPE, careful)) == {"i.bin": b"1"}


def test_listing_is_by_age_and_leaves_out_what_is_damaged(store: Store) -> None:
    """Results are listed oldest first, of one stage or of all, without those whose manifest cannot be trusted."""
    recipes = [Recipe(stage, version, {}, {}) for stage in ("one", "two") for version in range(3)]
    for number, recipe in enumerate(recipes):
        made = build_with(store, recipe, make)
        manifest = {**made.manifest, "made": f"2024-01-0{9 - number}T00:00:00Z"}
        manifest["seal"] = digests_module.json_digest({name: manifest[name] for name in manifest if name != "seal"})
        (made.path / "manifest.json").write_text(json.dumps(manifest))
    (store.path_of("one", recipes[0].key) / "manifest.json").write_text("{}")
    (store.root / "README.md").touch()
    assert [a.label for a in store.artifacts()] == [f"{r.stage}/{r.key}" for r in reversed(recipes[1:])]
    assert [a.stage for a in store.artifacts("one")] == ["one", "one"]

"""Maintenance: every fault is found, and nothing that is needed is removed."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tag2mask.tasks.building.build import build
from tag2mask.tasks.building.maintenance import Fault, StoreInUse, collect_garbage, verify
from tag2mask.tasks.store import digests
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.journal import record_items
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import DamagedArtifact, Recipe, Store
from tests.tasks.store.toy_artifacts import build_with
from tests.tasks.store.toy_stages import Toy, contents, draw_images, order_index, order_maps

RUNTIME = StageRuntime(shard=4)


class Bench:
    """A store with an index and two sets of maps made from it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "artifacts")
        self.images = draw_images(folder / "images", range(5))
        self.index = build(order_index(self.store, self.images), RUNTIME)
        self.maps = self.build_maps(1)
        self.other = self.build_maps(2)

    def build_maps(self, factor: int) -> Artifact:
        return build(order_maps(self.store, self.index, Toy(factor=factor)), RUNTIME)

    def collect(self, *keep: str, dry_run: bool = False, abandoned_seconds: float = 0.0) -> list[tuple[str, int]]:
        return collect_garbage(self.store, keep=lambda: keep, dry_run=dry_run, abandoned_seconds=abandoned_seconds)

    def labels(self) -> set[str]:
        return {artifact.label for artifact in self.store.artifacts()}


@pytest.fixture
def bench(tmp_path: Path, toy_stages: None) -> Bench:
    """Two sets of maps, made by the toy stages."""
    return Bench(tmp_path)


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("reread", [False, True])
def test_verify_names_every_fault_of_every_artifact(bench: Bench, reread: bool) -> None:
    """A sound store has no faults; in a damaged one all faulty files are named, with artifact and kind of fault."""
    assert verify(bench.store, reread=reread) == []
    (bench.maps.path / "p001.bin").unlink()
    (bench.maps.path / "p002.bin").write_bytes(b"?")
    (bench.other.path / "new").touch()
    (bench.index.path / "manifest.json").write_text("{}")
    faults = verify(bench.store, reread=reread)
    assert {(fault.label, fault.file) for fault in faults} == {
        (bench.maps.label, "p001.bin"),
        (bench.maps.label, "p002.bin"),
        (bench.other.label, "new"),
        (bench.index.label, "manifest.json"),
    }
    assert Fault(bench.maps.label, "p001.bin", "is missing") in faults
    assert f"{bench.maps.label}: p001.bin is missing" in map(str, faults)


def inodes_of(folder: Path) -> set[int]:
    """Inode numbers of the files below a folder."""
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_what_is_kept_keeps_its_inputs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept artifact and all that it was made from stay, unharmed; the rest goes, and its size is reported."""
    monkeypatch.setattr(digests, "RACY_NANOSECONDS", -(10**12))  # remember at once
    for artifact in (bench.maps, bench.other):
        bench.store.digests.of_path(artifact.path)
    freed, gone, stays = size(bench.other.path), inodes_of(bench.other.path), inodes_of(bench.maps.path)
    before = contents(bench.maps), contents(bench.index)
    assert bench.collect(bench.maps.label) == [(bench.other.label, freed)]
    assert bench.labels() == {bench.maps.label, bench.index.label}
    assert (contents(bench.maps), contents(bench.index)) == before and verify(bench.store) == []
    assert bench.collect(bench.maps.label) == []
    with sqlite3.connect(bench.store.digests.path) as memory:
        remembered = {inode for (inode,) in memory.execute("select inode from inodes")}
    memory.close()
    assert remembered & stays and not remembered & gone
    freed = size(bench.maps.path)
    assert bench.collect(bench.index.label, "toy_maps/00000000000000000000") == [(bench.maps.label, freed)]
    assert bench.labels() == {bench.index.label}


def test_inputs_are_kept_by_whichever_path_they_were_given(bench: Bench, tmp_path: Path) -> None:
    """In a store that a link leads to, what a kept artifact was made from is kept, though its real path was given."""
    (tmp_path / "link").symlink_to(bench.store.root)
    linked = Store(tmp_path / "link")
    index = Artifact(bench.index.path.resolve(), bench.index.manifest)
    maps = build(order_maps(linked, index, Toy(factor=7)), RUNTIME)
    assert maps.manifest["input_paths"] == {"index": index.label}
    collect_garbage(linked, keep=lambda: [maps.label], dry_run=False, abandoned_seconds=0.0)
    assert {artifact.label for artifact in linked.artifacts()} == {index.label, maps.label}


def test_raw_files_in_the_stores_folder_are_no_artifacts(bench: Bench) -> None:
    """Images that lie in the store's own folder are neither looked for a manifest nor removed."""
    images = draw_images(bench.store.root / "data" / "images", range(3))
    index = build(order_index(bench.store, images), RUNTIME)
    assert {label.partition("/")[0] for label, _ in bench.collect(index.label)} == {"toy_index", "toy_maps"}
    assert len(list(images.iterdir())) == 3 and bench.labels() == {index.label}


def test_dry_run_lists_the_same_and_removes_nothing(bench: Bench) -> None:
    """A dry run tells what would be removed, and leaves every file where it is."""
    bench.store.set_aside(bench.other.stage, bench.other.key)
    files = sorted(path for path in bench.store.root.rglob("*") if ".locks" not in path.parts)
    reported = bench.collect(bench.index.label, dry_run=True)
    assert sorted(path for path in bench.store.root.rglob("*") if ".locks" not in path.parts) == files
    assert reported == bench.collect(bench.index.label)
    assert [label.split("/")[0] for label, _ in reported] == ["toy_maps", ".trash"]
    assert bench.labels() == {bench.index.label} and not (bench.store.root / "toy_maps").exists()


def test_damaged_and_abandoned_things_are_removed_and_foreign_ones_are_not(bench: Bench) -> None:
    """What was set aside, abandoned work folders and begun files go; a kept artifact's and foreign files stay."""
    root, keep = bench.store.root, [bench.maps.label, bench.other.label]
    damaged = bench.store.set_aside(bench.other.stage, bench.other.key)
    abandoned, interrupted = (bench.store.work_dir("toy_maps", key) for key in ("f" * 20, bench.other.key))
    begun = [bench.maps.path / ".12.part", root / ".runs" / ".13.part", interrupted / "sub" / ".14.part"]
    foreign = [root / name for name in ("README.md", "notes/mine/text", "toy_maps/text", ".runs/1.json")]
    for path in [*begun, *foreign, abandoned / "a.bin", interrupted / "b.bin"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    removed = dict(bench.collect(*keep))
    parts = {path.relative_to(root).as_posix(): 5 for path in begun}
    assert removed == {
        f".work/toy_maps/{'f' * 20}": 5,
        f".trash/{damaged.name}": removed[f".trash/{damaged.name}"],
        **parts,
    }
    assert not any(path.exists() for path in [*begun, damaged, abandoned])
    assert all(path.exists() for path in [*foreign, interrupted / "b.bin"])
    assert bench.labels() == {bench.maps.label, bench.index.label}


def test_of_an_artifact_that_was_moved_and_linked_only_the_link_goes(bench: Bench, tmp_path: Path) -> None:
    """What a person took to another disk stays there, and later collections are not stopped by it."""
    elsewhere = tmp_path / "elsewhere"
    shutil.move(bench.other.path, elsewhere)
    bench.other.path.symlink_to(elsewhere)
    assert bench.other.label in dict(bench.collect(bench.maps.label))
    assert not bench.other.path.is_symlink() and (elsewhere / "manifest.json").is_file()
    assert bench.collect(bench.maps.label) == []


def test_nothing_is_removed_while_a_run_is_at_work(bench: Bench) -> None:
    """While a run holds the store, collecting is refused with the reason; after it, it works."""
    with bench.store.lock("run", shared=True), pytest.raises(StoreInUse, match=f"run is at work in {bench.store.root}"):
        bench.collect()
    assert len(bench.labels()) == 3
    assert len(bench.collect()) == 3


@pytest.mark.parametrize("prefix", ["", "use-"])
def test_what_somebody_builds_or_builds_from_is_left_alone(bench: Bench, prefix: str) -> None:
    """An artifact or work_dir whose lock is held is not removed, whatever is to be kept."""
    work_dir = bench.store.work_dir(bench.maps.stage, bench.maps.key)
    work_dir.mkdir(parents=True)
    (work_dir / ".1.part").touch()
    with bench.store.lock(f"{prefix}{bench.maps.stage}-{bench.maps.key}", shared=True):
        bench.collect()
        assert bench.labels() == {bench.maps.label} and (work_dir / ".1.part").exists()
    bench.collect()
    assert bench.labels() == set() and not work_dir.exists()


def test_shared_files_count_with_the_last_artifact_that_holds_them(bench: Bench) -> None:
    """Bytes that a kept artifact shares are not counted as given back; those of two removed ones are counted once."""
    draw_images(bench.images, range(6))
    old, bench.index = bench.maps, build(order_index(bench.store, bench.images), RUNTIME)
    new = bench.build_maps(1)
    own = sum((old.path / name).stat().st_size for name in ("manifest.json", "parts.jsonl", "metrics.json"))
    reported = dict(bench.collect(new.label, bench.other.label, dry_run=True))
    assert reported == {old.label: own}
    both = dict(bench.collect(dry_run=True))
    inodes = {path.stat().st_ino: path.stat().st_size for path in bench.store.root.glob("toy_*/**/*") if path.is_file()}
    assert sum(both.values()) == sum(inodes.values())


def test_unreadable_manifest_of_a_kept_artifact_stops_everything(bench: Bench) -> None:
    """If nobody knows what a kept artifact was made from, nothing is removed, and the error names the remedy."""
    os.truncate(bench.maps.path / "manifest.json", 10)
    message = rf"{bench.maps.label}: manifest\.json.*nothing was removed.*{bench.maps.path}"
    with pytest.raises(DamagedArtifact, match=message):
        bench.collect(bench.maps.label)
    assert bench.other.path.exists() and bench.index.path.exists()
    bench.collect(bench.other.label)
    assert not bench.maps.path.exists() and bench.labels() == {bench.other.label, bench.index.label}


def test_interrupted_removal_leaves_no_half_artifact(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of a removal, collecting leaves whole artifacts only, and the next one removes the rest."""

    def stop(path: Path) -> None:
        next(path.rglob("*.bin")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            bench.collect(bench.index.label)
    assert verify(bench.store) == []
    bench.collect(bench.index.label)
    assert bench.labels() == {bench.index.label} and not (bench.store.root / ".trash").exists()


def test_deleting_everything_by_hand_is_safe_between_runs(bench: Bench) -> None:
    """After `rm -rf artifacts/*` the store is empty and sound, remembers nothing wrong, and builds the same again."""
    sound = contents(bench.maps)
    for path in bench.store.root.glob("[!.]*"):
        shutil.rmtree(path)
    assert verify(bench.store) == [] and bench.collect("toy_maps/" + bench.maps.key) == []
    bench.index = build(order_index(bench.store, bench.images), RUNTIME)
    assert contents(bench.build_maps(1)) == sound and verify(bench.store) == []


def test_deleting_everything_by_hand_is_safe_with_an_interrupted_attempt(bench: Bench) -> None:
    """An attempt that was interrupted before `rm -rf artifacts/*` is resumed after it, to the same bytes."""

    def stop(out: Path) -> None:
        (out / "a.bin").write_bytes(b"1")
        record_items(out, {"a": [out / "a.bin"]})
        raise KeyboardInterrupt

    recipe = Recipe("toy", 1, {}, {})
    with pytest.raises(KeyboardInterrupt):
        build_with(bench.store, recipe, stop)
    for path in bench.store.root.glob("[!.]*"):
        shutil.rmtree(path)
    made = build_with(bench.store, recipe, lambda out: None)
    assert contents(made) == {"a.bin": b"1"}


def test_unfinished_work_stays_while_it_is_young(bench: Bench) -> None:
    """What an interrupted run left behind yesterday is still there to be resumed; after a week it goes."""
    work_dir = bench.store.work_dir("toy_maps", "f" * 20)
    work_dir.mkdir(parents=True)
    (work_dir / "half").write_bytes(b"half")
    week = 7 * 86_400.0
    bench.collect(bench.maps.label, bench.other.label, abandoned_seconds=week)
    assert work_dir.exists()
    old = (work_dir / "half").stat().st_mtime - week - 60
    for path in (work_dir / "half", work_dir):
        os.utime(path, (old, old))
    bench.collect(bench.maps.label, bench.other.label, abandoned_seconds=week)
    assert not work_dir.exists()

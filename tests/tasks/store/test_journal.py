"""The journal: what is done is not done again, what is not surely done is."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tag2mask.tasks.building.reuse import EarlierParts
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.digests import DigestMemory, file_digest
from tag2mask.tasks.store.files import NoRoomOnDisk, write_file
from tag2mask.tasks.store.journal import JOURNAL, RESUME, end_of_lines, finished_items, journaled, record_items
from tag2mask.tasks.store.parts import PARTS
from tag2mask.tasks.store.runtime import Earlier, NothingEarlier, StageRuntime

NOTHING = NothingEarlier()
IDS = [f"i{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was forced to the disk, instead of doing so, which takes long."""
    names: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: names.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}"))))
    return names


def earlier_result(folder: Path, image_ids: list[str]) -> EarlierParts:
    """A complete result of some images, as a later one takes it over."""
    Inference(folder).run()
    own = {part.image_id: part._replace(key="k") for part in journaled(folder)}
    (folder / PARTS).write_bytes(b"".join(own[image_id].line() for image_id in image_ids))
    manifest = {"digest": "d", "images": len(image_ids), "parts": file_digest(folder / PARTS)}
    return EarlierParts.among([Artifact(folder, manifest)], [(i, "k") for i in IDS], DigestMemory(folder / ".memory"))


class Killed(Exception):
    """Stands for a kill."""


class Inference:
    """Writes `<id>.txt`; fails before the image `fail_at`, leaves out those in `leave_out`."""

    def __init__(self, out: Path, fail_at: str = "", leave_out: tuple[str, ...] = ()) -> None:
        self.out, self.fail_at, self.leave_out = out, fail_at, leave_out
        self.processed: list[str] = []
        self.shards: list[list[str]] = []
        self.reported: list[tuple[int, int]] = []

    def process(self, image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        self.shards.append(image_ids)
        for image_id in image_ids:
            if image_id == self.fail_at:
                raise Killed
            self.processed.append(image_id)
            path = self.out / f"{image_id}.txt"
            write_file(path, lambda file, image_id=image_id: file.write(image_id.encode()))  # type: ignore[misc]
            if image_id not in self.leave_out:
                yield image_id, [path]

    def run(self, *, shard: int = 4, earlier: Earlier = NOTHING, journal_seconds: float = 0.0) -> list[str]:
        runtime = StageRuntime(
            shard=shard,
            earlier=earlier,
            journal_seconds=journal_seconds,
            report=lambda done, total, note: self.reported.append((done, total)),
        )
        process_images(IDS, self.out, self.process, runtime)
        return self.processed


def test_images_are_handed_out_shard_by_shard_and_progress_rises_to_the_end(tmp_path: Path) -> None:
    """Shards hold `shard` images in order, all are journaled, and progress counts every image up to all of them."""
    inference = Inference(tmp_path)
    assert inference.run() == IDS
    assert inference.shards == [IDS[:4], IDS[4:8], IDS[8:]]
    assert finished_items(tmp_path) == IDS
    assert inference.reported == [(done, 10) for done in range(11)]
    assert Inference(tmp_path).run() == []


def test_files_are_forced_to_the_disk_before_their_ids(tmp_path: Path, forced: list[str]) -> None:
    """When an id is forced to the disk, its files and the folders that name them are there already."""
    path = tmp_path / "out" / "maps" / "a.txt"
    write_file(path, lambda file: file.write(b"1"))
    record_items(tmp_path / "out", {"a": [path]})
    assert set(forced[:-1]) == {"a.txt", "maps", "out"}
    assert forced[-1] == JOURNAL


@pytest.mark.parametrize("shard", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("fail_at", IDS)
def test_interrupted_inference_repeats_less_than_a_shard(tmp_path: Path, shard: int, fail_at: str) -> None:
    """After an interruption at any image, all images are there and fewer than a shard were processed twice."""
    first, second = Inference(tmp_path, fail_at), Inference(tmp_path)
    with pytest.raises(Killed):
        first.run(shard=shard)
    second.run(shard=shard)
    repeated = [image_id for image_id in second.processed if image_id in first.processed]
    assert len(repeated) < max(shard, 1)
    assert {*first.processed, *second.processed} == set(IDS)
    assert finished_items(tmp_path) == IDS


def test_line_cut_short_does_not_count_and_is_overwritten(tmp_path: Path) -> None:
    """A journal cut at any byte counts only its whole lines, and the next entry follows the last whole one."""
    Inference(tmp_path).run()
    journal = tmp_path / RESUME / JOURNAL
    whole = journal.read_bytes()
    for cut in range(0, len(whole), 7):
        journal.write_bytes(whole[:cut])
        done = finished_items(tmp_path)
        assert done == IDS[: whole[:cut].count(b"\n")]
        record_items(tmp_path, {"new": []})
        assert finished_items(tmp_path) == [*done, "new"]


def test_an_entry_costs_the_same_however_long_the_journal_is(tmp_path: Path) -> None:
    """To find where the next entry goes only the end of the journal is read, whatever a crash left there."""
    for torn in (b"", b'{"id":"torn'):
        text = b'{"files":{},"id":"i"}\n' * 50_000
        file = Counted(text + torn)
        assert end_of_lines(file) == len(text)
        assert file.count <= 2**16
    assert end_of_lines(Counted(b"torn" * 50_000)) == end_of_lines(Counted(b"")) == 0


class Counted(io.BytesIO):
    """Counts the bytes read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        content = super().read(size)
        self.count += len(content)
        return content


def test_quick_images_share_an_entry(tmp_path: Path, forced: list[str]) -> None:
    """Within the shortest time between two entries nothing is forced to the disk, and at the end nothing is missing."""
    Inference(tmp_path).run(shard=2, journal_seconds=3600)
    assert forced.count(JOURNAL) == 1 and finished_items(tmp_path) == IDS
    assert Inference(tmp_path).run() == []


def test_damaged_line_and_damaged_files_are_done_again(tmp_path: Path) -> None:
    """An image is done again if its line is garbled or its file was changed, cut or removed since; no other is."""
    Inference(tmp_path).run()
    journal = tmp_path / RESUME / JOURNAL
    garbled = journal.read_bytes().replace(b'"id":"i0"', b'"id\x80:"i0"')
    journal.write_bytes(garbled.replace(b'"id":"i1"', b'"ix":"i1"'))
    (tmp_path / "i3.txt").write_text("i4")
    (tmp_path / "i5.txt").write_text("i")
    (tmp_path / "i7.txt").unlink()
    assert Inference(tmp_path).run() == ["i0", "i1", "i3", "i5", "i7"]
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == set(IDS)
    assert sorted(finished_items(tmp_path)) == IDS
    assert Inference(tmp_path).run() == []


def test_no_flipped_bit_of_a_journal_is_taken_for_a_fact(tmp_path: Path) -> None:
    """Whatever bit of a line turns over, the line does not count: no file would give away an image's facts."""
    (tmp_path / "i0.txt").write_text("i0")
    record_items(tmp_path, {"i0": [tmp_path / "i0.txt"]}, lambda image_id: {"width": 48, "labels": "cat"})
    journal = tmp_path / RESUME / JOURNAL
    sound = journal.read_bytes()
    for place in range(len(sound)):
        for bit in range(8):
            journal.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << bit]) + sound[place + 1 :])
            assert finished_items(tmp_path) == [], (place, bit)
    journal.write_bytes(sound)
    assert [part.facts for part in journaled(tmp_path)] == [{"width": 48, "labels": "cat"}]


def test_image_that_is_not_yielded_is_asked_for_again(tmp_path: Path) -> None:
    """An image without a result is not journaled, and the next attempt gets it alone."""
    Inference(tmp_path, leave_out=("i2", "i9")).run()
    assert Inference(tmp_path).run() == ["i2", "i9"]


@pytest.mark.parametrize("links", [True, False])
def test_earlier_results_are_taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, links: bool) -> None:
    """Earlier files are linked, or copied where links fail, even over leftovers; only the rest is processed."""
    old = tmp_path / "old"
    earlier = earlier_result(old, IDS[:7])
    out = tmp_path / "new"
    out.mkdir()
    (out / "i0.txt").write_text("left over")

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert Inference(out).run(earlier=earlier) == IDS[7:]
    assert (out / "i0.txt").read_text() == "i0"
    assert (out / "i0.txt").samefile(old / "i0.txt") == links
    assert (old / "i9.txt").read_text() == "i9" and not (out / "i9.txt").samefile(old / "i9.txt")
    assert sorted(part.image_id for part in journaled(out)) == IDS


def test_earlier_result_that_vanished_is_computed(tmp_path: Path) -> None:
    """An earlier file that is gone by the time it is wanted costs the computation of its image, nothing else."""
    old = tmp_path / "old"
    earlier = earlier_result(old, IDS)
    (old / "i1.txt").unlink()
    assert Inference(tmp_path / "new").run(earlier=earlier) == ["i1"]


def test_file_elsewhere_is_refused(tmp_path: Path) -> None:
    """A stage that journals a file outside of its folder is reported so."""
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="/a"):
        record_items(tmp_path / "out", {"i": [tmp_path / "a"]})


def test_a_full_disk_is_said_though_facts_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the journal itself finds no room, that is the error, also of a stage that hands out each fact once."""
    known = {image_id: {"known": image_id} for image_id in IDS}

    def full(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(JOURNAL):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoomOnDisk):
        process_images(IDS, tmp_path, Inference(tmp_path).process, StageRuntime(shard=2, journal_seconds=0), known.pop)

"""The journal of an inference stage: which images are done, so that a crash repeats less than a shard.

The journal lies in the hidden folder `.resume` of the work_dir and does not belong to the result.  Each line is a
JSON object `{"id": ..., "files": {relative name: SHA-256}}`, written only after the files were forced to the disk.
The digests let a resumed stage do again what was damaged while it lay there.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import disk_full_as_error, sync_files, write_file
from tag2mask.tasks.store.runtime import StageRuntime

RESUME = ".resume"
JOURNAL = "journal.txt"
LINKED_AT_ONCE = 1024
"""Images of an earlier result taken over between two journal entries."""

Process = Callable[[list[str]], Iterator[tuple[str, list[Path]]]]


def finished_items(out: Path) -> list[str]:
    """Ids journaled as done below `out`, in order; a line cut short by a crash does not count."""
    return list(item_files(out))


def item_files(out: Path) -> dict[str, dict[str, str]]:
    """Journaled id -> {relative name: digest of the file when it was journaled}."""
    path = out / RESUME / JOURNAL
    text = path.read_bytes() if path.exists() else b""
    found = {}
    for line in text[: text.rfind(b"\n") + 1].splitlines():
        try:
            entry = json.loads(line)
            found[str(entry["id"])] = dict(entry["files"])
        except (ValueError, KeyError, TypeError):
            continue  # a damaged line: the image is done again
    return found


def record_items(out: Path, items: Mapping[str, Sequence[Path]]) -> None:
    """Force the files of some images to the disk, then journal the ids.

    Raises:
        ValueError: a file does not lie below `out`.
        NoRoomOnDisk: the disk is full.
    """
    if not items:
        return
    files = [path for paths in items.values() for path in paths]
    folders = {folder for path in files for folder in path.parents if folder.is_relative_to(out)}
    sync_files(files, folders=folders)
    lines = [_line(i, {p.relative_to(out).as_posix(): file_digest(p) for p in paths}) for i, paths in items.items()]
    path = out / RESUME / JOURNAL
    with disk_full_as_error(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            complete = file.read().rfind(b"\n") + 1  # a line cut short by a crash is overwritten
            file.seek(complete)
            file.truncate()
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())


def _line(image_id: str, files: Mapping[str, str]) -> bytes:
    return json.dumps({"id": image_id, "files": files}, sort_keys=True).encode() + b"\n"


def process_images(image_ids: Sequence[str], out: Path, process: Process, runtime: StageRuntime) -> None:
    """Run an inference over images, shard by shard, leaving out what is done already.

    Args:
        image_ids: ids to process, in order.
        out: the stage's folder.
        process: takes the ids of a shard, writes their files below `out`, yields (id, paths written).  The files are
            final once yielded.  An id that it does not yield is not journaled, and asked for again by the next attempt.
        runtime: hands out `shard` images at once (a crash makes the next attempt repeat fewer); what is `earlier` is
            linked and not computed; `report` is told (images done, images in all).

    Raises:
        NoRoomOnDisk: the disk is full; what is journaled is kept.
    """
    done = _sound_items(out)
    reusable = [image_id for image_id in image_ids if image_id not in done and image_id in runtime.earlier]
    for start in range(0, len(reusable), LINKED_AT_ONCE):
        at_once = reusable[start : start + LINKED_AT_ONCE]
        linked = {image_id: _link(runtime.earlier[image_id], out) for image_id in at_once}
        taken = {image_id: paths for image_id, paths in linked.items() if paths is not None}
        record_items(out, taken)
        done |= taken.keys()
    pending = [image_id for image_id in image_ids if image_id not in done]
    count = len(image_ids) - len(pending)
    runtime.progress(count, len(image_ids))
    for start in range(0, len(pending), runtime.shard):
        finished: dict[str, list[Path]] = {}
        for image_id, paths in process(pending[start : start + runtime.shard]):
            finished[image_id] = paths
            count += 1
            runtime.progress(count, len(image_ids))
            if len(finished) >= (runtime.shard + 1) // 2:  # twice a shard: a kill then costs less than a whole
                record_items(out, finished)
                finished = {}
        record_items(out, finished)


def _sound_items(out: Path) -> set[str]:
    """Journaled ids whose files are still what they were; the others are struck from the journal."""
    journaled = item_files(out)
    sound = {image_id: files for image_id, files in journaled.items() if all(_is(out / n, d) for n, d in files.items())}
    if len(sound) < len(journaled):
        text = b"".join(_line(image_id, files) for image_id, files in sound.items())
        write_file(out / RESUME / JOURNAL, lambda file: file.write(text), durably=True)
    return set(sound)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest


def _link(files: Mapping[str, Path], out: Path) -> list[Path] | None:
    """Hard-link files of an earlier result (copy where the file system has no links); None if one is gone by now."""
    made = []
    for name, source in files.items():
        target = out / name
        with disk_full_as_error(out):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copyfile(source, target)
            except FileNotFoundError:
                return None
        made.append(target)
    return made

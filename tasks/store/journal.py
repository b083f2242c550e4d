"""The journal of an inference stage: which images are done, so that a crash repeats less than a shard.

The journal lies in the hidden folder `.resume` of the work_dir and does not belong to the result.  Each line is a
CRC-32 and the JSON of a `Part`, written only after the files were forced to the disk.  The digests let a resumed stage
do again what was damaged while it lay there, and so does the CRC for the facts; the signatures let the end of the stage
see that a file is still the one that was read.
"""

import os
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO

from tag2mask.tasks.store.digests import Signature, batched, file_digest
from tag2mask.tasks.store.files import disk_full_as_error, forget_written, sync_files, write_file
from tag2mask.tasks.store.parts import Facts, Part, lines_of, parts_at
from tag2mask.tasks.store.runtime import StageRuntime

RESUME = ".resume"
JOURNAL = "journal.jsonl"
CHECK = len("00000000 ")
"""Bytes of a line before its JSON."""
DIGITS = 16
"""Hex digits of a place in the journal, as many for all so that they can be sorted as text."""
LINKED_AT_ONCE = 2048
"""Images of earlier results taken over between two journal entries."""

Make = Callable[[list[str]], Generator[tuple[str, list[Path]], None, None]]
FactsOf = Callable[[str], Facts]


def no_facts(image_id: str) -> Facts:
    """That a stage knows nothing of an image."""
    return {}


def journaled(out: Path) -> Iterator[Part]:
    """What is journaled as done below `out`, in order; a line that was cut short or damaged does not count."""
    for _, line in _sound_lines(out):
        with suppress(ValueError):
            if (part := Part.read(line)).image_id:
                yield part


def journaled_by_id(out: Path) -> Iterator[Part]:
    """The same by id; of several lines of an image the last one.  What is held of each is its id and a number."""
    lines = ((place, Part.read(line).image_id) for place, line in _sound_lines(out))
    where = sorted(f"{image_id}\0{place:0{DIGITS}x}" for place, image_id in lines if image_id)
    following = chain(islice(where, 1, None), ("",))
    last = (one for one, after in zip(where, following, strict=True) if one[:-DIGITS] != after[:-DIGITS])
    return parts_at(out / RESUME / JOURNAL, (int(one[-DIGITS:], 16) for one in last)) if where else iter(())


def _sound_lines(out: Path) -> Iterator[tuple[int, bytes]]:
    """(where it begins, JSON of a line) of the journal."""
    path = out / RESUME / JOURNAL
    for place, line in lines_of(path) if path.exists() else ():
        content = line[CHECK:]
        if line.endswith(b"\n") and line == _checked(content):
            yield place + CHECK, content


def _checked(content: bytes) -> bytes:
    """A line of the journal."""
    return b"%08x " % zlib.crc32(content) + content


def finished_items(out: Path) -> list[str]:
    """Ids journaled as done below `out`, in order."""
    return [part.image_id for part in journaled(out)]


def record_items(out: Path, items: Mapping[str, Sequence[Path]], facts: FactsOf = no_facts) -> None:
    """Force the files of some images to the disk, then journal the ids.

    Args:
        out: the stage's folder.
        items: image id -> its files.
        facts: image id -> what the stage knows of it.

    Raises:
        ValueError: a file does not lie below `out`.
        NoRoomOnDisk: the disk is full.
    """
    files = [path for paths in items.values() for path in paths]
    sync_files(files, folders=_folders(files, out))
    _append(out, [_part(image_id, paths, out, facts(image_id)) for image_id, paths in items.items()])
    forget_written(files)


def _part(image_id: str, paths: Sequence[Path], out: Path, facts: Facts) -> Part:
    """The part of an image whose files were just written."""
    files, signatures = {}, {}
    for path in paths:
        name, signature, now = path.relative_to(out).as_posix(), Signature.of(path), time.time_ns()
        files[name] = file_digest(path)
        if signature.settled(now):
            signatures[name] = signature
    return Part(image_id, files, facts, signatures=signatures)


def _folders(files: Sequence[Path], out: Path) -> set[Path]:
    """All folders up to `out` that hold files."""
    parents = {path.parent for path in files}
    return {folder for parent in parents for folder in (parent, *parent.parents) if folder.is_relative_to(out)}


def _append(out: Path, found: Sequence[Part]) -> None:
    if not found:
        return
    path = out / RESUME / JOURNAL
    with disk_full_as_error(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(file.seek(end_of_lines(file)))  # a line cut short by a crash is overwritten
            file.write(b"".join(_checked(part.line()) for part in found))
            file.flush()
            os.fsync(file.fileno())


def end_of_lines(file: IO[bytes], step: int = 2**16) -> int:
    """Bytes up to the end of the last whole line of a file."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - step)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def journal_images(
    image_ids: Sequence[str], out: Path, make: Make, runtime: StageRuntime, facts: FactsOf = no_facts
) -> None:
    """Make the files of images and journal them, leaving out what is done already.

    Args:
        image_ids: ids to process, in order.
        out: the stage's folder.
        make: takes the ids that are left, writes their files below `out`, and yields (id, paths written), in any order.
            The files are final once yielded.  An id that it does not yield is not journaled, and asked for again by the
            next attempt.
        runtime: what is `earlier` is linked and not computed; `report` gets (images done, in all); there is an entry
            for half a `shard`, but none within `journal_seconds` of another.
        facts: asked for each image that was yielded: what to keep of it in the journal and in the result.

    Raises:
        NoRoomOnDisk: the disk is full; what is journaled is kept.
    """
    done = _sound_items(out)
    for part in batched((i for i in image_ids if i not in done and i in runtime.earlier), LINKED_AT_ONCE):
        taken = _take_over(part, out, runtime)
        done.update(image_id for image_id in part if image_id in taken)  # the caller's own strings: no copies stay
    pending = [image_id for image_id in image_ids if image_id not in done]
    count, recorded = len(image_ids) - len(pending), time.monotonic()
    runtime.progress(count, len(image_ids))
    finished: dict[str, list[Path]] = {}
    half = (runtime.shard + 1) // 2  # twice a shard: a kill then costs less than a whole
    try:
        with closing(make(pending)) as made:
            for image_id, paths in made:
                finished[image_id] = paths
                count += 1
                runtime.progress(count, len(image_ids))
                if len(finished) >= half and time.monotonic() - recorded >= runtime.journal_seconds:
                    record_items(out, finished, facts)
                    finished, recorded = {}, time.monotonic()
    except Exception:
        with suppress(Exception):  # the error itself is what matters; facts that were asked for may be gone
            record_items(out, finished, facts)
        raise
    record_items(out, finished, facts)


def _take_over(image_ids: list[str], out: Path, runtime: StageRuntime) -> set[str]:
    """Link the earlier parts of some images and journal them; which were sound.  A link's bytes are on the disk."""
    taken = runtime.earlier.take(image_ids, out)
    names = [(part, name) for part in taken for name in part.files]
    copies = [out / name for part, name in names if name not in part.signatures]
    sync_files(copies, folders=_folders([out / name for _, name in names], out))
    _append(out, taken)
    return {part.image_id for part in taken}


def _sound_items(out: Path) -> set[str]:
    """Journaled ids whose files are still what they were; the others are struck from the journal."""
    sound: set[str] = set()
    damaged: set[str] = set()
    for part in journaled(out):
        whole = all(_is(out / name, digest) for name, digest in part.files.items())
        (sound if whole else damaged).add(part.image_id)
    if damaged:
        kept = (_checked(part.line()) for part in journaled(out) if part.image_id in sound)
        write_file(out / RESUME / JOURNAL, lambda file: file.writelines(kept), durably=True)
    return sound


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest

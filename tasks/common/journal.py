"""The journal of an inference stage: which images are done, so that a crash repeats at most one shard.

The journal lies in the hidden folder `.resume` of the workshop and does not belong to the result.  An id is journaled only after
its files were forced to the disk.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tag2mask.tasks.common.durable import sync_files, told_of_full_disk

RESUME = ".resume"
JOURNAL = "journal.txt"


def finished_items(out: Path) -> list[str]:
    """Ids journaled as done below `out`, in order; a line cut short by a crash does not count."""
    path = out / RESUME / JOURNAL
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(dict.fromkeys(text[: text.rfind("\n") + 1].split("\n")[:-1]))


def record_items(out: Path, items: Mapping[str, Sequence[Path]]) -> None:
    """Force the files of some images to the disk, then journal the ids."""
    if not items:
        return
    sync_files([path for paths in items.values() for path in paths])
    path = out / RESUME / JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    with told_of_full_disk(out), path.open("r+b" if path.exists() else "w+b") as file:
        complete = file.read().rfind(b"\n") + 1  # a line cut short by a crash is overwritten
        file.seek(complete)
        file.truncate()
        file.write("".join(f"{image_id}\n" for image_id in items).encode())
        file.flush()
        os.fsync(file.fileno())


def process_images(
    image_ids: Sequence[str],
    out: Path,
    process: Callable[[list[str]], Iterator[tuple[str, list[Path]]]],
    *,
    shard: int,
    earlier: Mapping[str, Mapping[str, Path]],
    progress: Callable[[int, int], None],
) -> None:
    """Run an inference over images, shard by shard, leaving out what is done already.

    Args:
        image_ids: ids to process, in order.
        out: the stage's folder.
        process: takes the ids of a shard, writes their files below `out`, yields (id, paths written).
        shard: images per journal entry.
        earlier: id -> {relative name: file of an earlier result made from the very same inputs}, linked instead of computed.
        progress: told (images done, images in all).
    """
    done = set(finished_items(out))
    reusable = [image_id for image_id in image_ids if image_id not in done and image_id in earlier]
    for start in range(0, len(reusable), 1024):
        record_items(out, {i: _link(earlier[i], out) for i in reusable[start : start + 1024]})
    done |= set(reusable)
    pending = [image_id for image_id in image_ids if image_id not in done]
    progress(len(image_ids) - len(pending), len(image_ids))
    for start in range(0, len(pending), shard):
        finished: dict[str, list[Path]] = {}
        for image_id, paths in process(pending[start : start + shard]):
            finished[image_id] = paths
            progress(len(image_ids) - len(pending) + start + len(finished), len(image_ids))
        record_items(out, finished)


def _link(files: Mapping[str, Path], out: Path) -> list[Path]:
    """Hard-link files of an earlier result (copy where the file system has no links)."""
    made = []
    for name, source in files.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            with told_of_full_disk(out):
                target.write_bytes(source.read_bytes())
        made.append(target)
    return made

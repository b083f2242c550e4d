"""Seal a result: its files forced to the disk and looked at once more, its table and its manifest written.

What is sealed is what the stage has finished: files that it journaled, or wrote in the attempt that came to the end.
Anything else that lies there is somebody else's, or of an attempt that would have overwritten it; it is named and set
aside.  Journaled files must still be what they were when their image was finished.  Those whose signature shows it are
not read again.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tag2mask.tasks.store.digests import DigestMemory, Signature, batched, file_digest, json_digest
from tag2mask.tasks.store.files import parts_below, read_json, sync_files, write_file, write_json
from tag2mask.tasks.store.journal import journaled_by_id
from tag2mask.tasks.store.manifest import MANIFEST, DamagedArtifact, own_names, seal_of
from tag2mask.tasks.store.parts import PARTS, PASSING, Part, read_parts

ITEMS = "items.json"
METRICS = "metrics.json"
SHOWN = 5
"""Names of foreign files in a message."""
CHECKED_AT_ONCE = 2000
"""Images whose files are looked at together."""
log = logging.getLogger("tag2mask")


def seal(
    work_dir: Path,
    recipe: Mapping[str, Any],
    keys: Iterable[tuple[str, str]],
    memory: DigestMemory,
    about: Mapping[str, Any],
    written: Collection[Path],
    aside: Path,
) -> None:
    """Write the table and the manifest of a result, when all else is on the disk.

    Args:
        work_dir: folder of the result, still with its journal.
        recipe: what made it.
        keys: (image id, digest of all that its part is made of), by id.
        memory: remembers digests of files.
        about: further facts.
        written: files that the stage wrote in this attempt besides those it journaled.
        aside: folder that takes what the stage did not write; made if there is any.

    Raises:
        DamagedArtifact: a file is no longer what it was when its image was journaled.
        NoRoomOnDisk: the disk is full.
    """
    for part in parts_below(work_dir):  # begun by an attempt that was killed
        part.unlink(missing_ok=True)
    table = _Table(work_dir, keys, memory, {path.relative_to(work_dir).as_posix() for path in written})
    sync_files([work_dir / name for name in table.rest])
    write_file(work_dir / PARTS, lambda file: file.writelines(table.lines()), durably=True)
    foreign = table.foreign()
    _set_aside(work_dir, foreign, aside)
    sync_files([], folders=[Path(folder) for folder, _, _ in os.walk(work_dir)])
    metrics = work_dir / METRICS
    manifest = {
        "recipe": dict(recipe),
        "key": work_dir.name,
        "digest": table.content.hexdigest(),
        "parts": file_digest(work_dir / PARTS),
        "files": table.files,
        "images": table.images,
        "bytes": table.bytes,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": read_json(metrics) if metrics.exists() else {},
        **({"left_out": foreign} if foreign else {}),
        **about,
    }
    write_json(work_dir / MANIFEST, {**manifest, "seal": seal_of(manifest)})


class _Table:
    """Makes the lines of a table, and adds up what they list."""

    def __init__(
        self, work_dir: Path, keys: Iterable[tuple[str, str]], memory: DigestMemory, written: Collection[str]
    ) -> None:
        self.work_dir, self.memory = work_dir, memory
        self.keys = _ById(keys)
        self.images = self.files = self.bytes = 0
        self.content = hashlib.sha256()
        """Of all names and digests in the order of the table."""
        self.rest = {name for name in _visible(dict.fromkeys(written, "")) if (work_dir / name).is_file()}
        self.rest -= {MANIFEST, PARTS}
        """Names of the files of no image: those that are written and, in the end, not among an image's."""
        self.items = _ById(_pairs_in(work_dir / ITEMS)) if ITEMS in self.rest else None
        """Digests of what parts mean, as the stage wrote them; None where their files are that."""

    def lines(self) -> Iterator[bytes]:
        """The lines of the table."""
        for some in batched(journaled_by_id(self.work_dir), CHECKED_AT_ONCE):
            own = [part._replace(files=_visible(part.files)) for part in some]
            self._check(own)
            for part in own:
                self.rest.difference_update(part.files)
                yield self._line(part)
        found = list(self.memory.look_at((name, self.work_dir / name) for name in sorted(self.rest)))
        self.bytes += sum(signature.size for _, signature, _ in found)
        if found:
            yield self._line(Part("", {name: digest for name, _, digest in found}))

    def foreign(self) -> list[str]:
        """Names of files that the stage did not write, sorted, once the table is written."""
        if sum(1 for _ in own_names(self.work_dir)) == self.files:
            return []
        listed = {name for part in read_parts(self.work_dir) for name in part.files}
        return sorted(set(own_names(self.work_dir)) - listed)

    def _line(self, part: Part) -> bytes:
        image_id = part.image_id
        self.files += len(part.files)
        for name, digest in part.files.items():
            self.content.update(f"{digest}  {name}\n".encode(errors="surrogateescape"))
        if not image_id:
            return part.line()
        item = json_digest(part.files) if self.items is None else self.items.take(image_id)
        self.images += bool(item)
        key = "" if part.facts.get(PASSING) else self.keys.take(image_id)
        return part._replace(key=key, item=item, signatures={}).line()

    def _check(self, parts: Iterable[Part]) -> None:
        """Whether the journaled files of some images are what they were; those of which it shows are not read again."""
        known, unsure = [], {}
        try:
            for part in parts:
                for name, digest in part.files.items():
                    signature = Signature.of(f"{self.work_dir}/{name}")
                    self.bytes += signature.size
                    if part.signatures.get(name) == signature:
                        known.append((signature, digest))
                    else:
                        unsure[name] = digest
            read = dict(self.memory.of_names(self.work_dir, unsure))
        except OSError as error:
            raise DamagedArtifact(f"{error}: it was finished; run again: its image will be made anew") from error
        changed = [name for name, digest in unsure.items() if read[name] != digest]
        if changed:
            path = self.work_dir / changed[0]
            raise DamagedArtifact(f"{path} changed after its image was finished; run again: it will be made anew")
        self.memory.learn(known)


class _ById:
    """(id, value) by id, read in a stream beside a table that is by id, too."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = iter(pairs)
        self._next = next(self._pairs, None)

    def take(self, image_id: str) -> str:
        """The value of an id, or nothing; ids are asked for in order."""
        while self._next is not None and self._next[0] < image_id:
            self._next = next(self._pairs, None)
        if self._next is None or self._next[0] != image_id:
            return ""
        return self._next[1]


def _pairs_in(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of a JSON object of texts, a line each, as `write_text_pairs` and `write_json` write it."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line not in ("{\n", "}\n", "{}\n"):
                yield from json.loads("{" + line.strip().removesuffix(",") + "}").items()


def _set_aside(work_dir: Path, names: Collection[str], aside: Path) -> None:
    """Move files out of a work_dir and name them; of a folder that is a link, the link."""
    for name in names:
        path = work_dir / name
        parents = [folder for folder in path.parents if folder.is_relative_to(work_dir) and folder != work_dir]
        path = next((folder for folder in reversed(parents) if folder.is_symlink()), path)
        if not os.path.lexists(path):
            continue  # gone with the link that led to it
        target = aside / path.relative_to(work_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, target)
        with suppress(OSError):  # where it holds something else
            path.parent.rmdir()
    if names:
        shown = ", ".join(list(names)[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        log.warning("%s: %s: not written by the stage, and left out; moved to %s", work_dir, shown, aside)


def _visible(files: Mapping[str, str]) -> dict[str, str]:
    """The files that belong to a result, sorted by name: hidden ones do not."""
    return {name: files[name] for name in sorted(files) if not name.startswith(".") and "/." not in name}

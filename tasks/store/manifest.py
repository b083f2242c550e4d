"""The manifest of an artifact: what made it, what it holds, and whether it still holds it.

`manifest.json` is sealed: it carries a digest of itself, so that a change to it is noticed like one to any other
file.  Its fields: `recipe`, `key`, `digest` (of the names and bytes of all files), `parts` (SHA-256 of the table
`parts.jsonl`, which lists the files), `files` and `images` (how many there are), `bytes`, `seconds` (of the attempt
that finished it), `made`, `metrics`, and what the caller adds.  A release has no table: `files` is name -> SHA-256.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.digests import DigestMemory, batched, file_digest, json_digest, names_below
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.parts import PARTS, read_parts

MANIFEST = "manifest.json"
CHECKED_AT_ONCE = 2000
"""Files of an artifact that are looked at together."""


class DamagedArtifact(UserError, RuntimeError):
    """A result is not what its manifest says."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file of an artifact."""

    label: str
    """`stage/key`."""
    file: str
    """Name below the artifact's folder."""
    what: str
    """What is wrong, as the rest of a sentence that starts with the file's name."""

    def __str__(self) -> str:
        """The fault in one line."""
        return f"{self.label}: {self.file} {self.what}"


def label_of(folder: Path) -> str:
    """`stage/key` of an artifact's folder."""
    return f"{folder.parent.name}/{folder.name}"


def own_names(folder: Path) -> Iterator[str]:
    """Names of the files that make up a result, in no order: all but the manifest, the table and hidden ones."""
    return (name for name in names_below(folder) if name not in (MANIFEST, PARTS))


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Digest of all that a manifest says but its seal."""
    return json_digest({name: value for name, value in manifest.items() if name != "seal"})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of an artifact.

    Raises:
        DamagedArtifact: it is missing, cannot be read, was changed, or belongs to another artifact.
        PermissionError: it may not be read.
    """
    label = label_of(folder)
    try:
        manifest = read_json(folder / MANIFEST)
        sound = isinstance(manifest, dict) and manifest.get("seal") == seal_of(manifest)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedArtifact(f"{label}: {MANIFEST} cannot be read ({error})") from error
    if not sound:
        raise DamagedArtifact(f"{label}: {MANIFEST} was changed after it was made")
    if manifest["key"] != folder.name or manifest["recipe"]["stage"] != folder.parent.name:
        other = f"{manifest['recipe']['stage']}/{manifest['key']}"
        raise DamagedArtifact(f"{label}: {MANIFEST} is that of {other}: was the folder renamed or copied?")
    if not isinstance(manifest["parts"], str):
        raise DamagedArtifact(f"{label}: {MANIFEST} is that of an older release of tag2mask")
    return dict(manifest)


def faults_of(folder: Path, manifest: Mapping[str, Any], memory: DigestMemory, *, reread: bool) -> list[Fault]:
    """What is wrong with the files of a result or a release.

    Args:
        folder: the result.
        manifest: its manifest.
        memory: remembered digests.
        reread: read every byte again instead of trusting the file system's signature of unchanged files.

    Raises:
        PermissionError: a file may not be read.
    """
    label, wrong, sound = label_of(folder), {}, 0
    try:
        if "parts" in manifest and (wrong := _wrong(folder, [(PARTS, manifest["parts"])], memory, reread=reread)):
            return [Fault(label, PARTS, wrong[PARTS])]  # what else it should hold is not known
        for some in batched(_expected(folder, manifest), CHECKED_AT_ONCE):
            found = _wrong(folder, some, memory, reread=reread)
            sound += len(some) - len(found)
            wrong |= found
        if sum(1 for _ in own_names(folder)) > sound:
            expected = {name for name, _ in _expected(folder, manifest)}
            wrong |= {name: "does not belong to it" for name in sorted({*own_names(folder)} - expected)}
    except FileNotFoundError as error:
        return [Fault(label, MANIFEST, f"is gone ({error})")]  # set aside by another run just now
    return [Fault(label, name, what) for name, what in wrong.items()]


def _expected(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of all files but the manifest and the table."""
    if "parts" not in manifest:
        return iter(manifest["files"].items())
    return ((name, digest) for part in read_parts(folder) for name, digest in part.files.items())


def _wrong(folder: Path, expected: Iterable[tuple[str, str]], memory: DigestMemory, *, reread: bool) -> dict[str, str]:
    """Name -> what is wrong with a file."""
    remembered: dict[str, str] = {}
    if not reread:
        with suppress(OSError):  # one of them cannot be read: find out which
            remembered = dict(memory.of_names(folder, (name for name, _ in expected)))
    wrong = {}
    for name, digest in expected:
        if remembered.get(name) == digest:
            continue
        try:
            if not os.path.isfile(path := folder / name):
                wrong[name] = "is missing"
            elif file_digest(path) != digest:
                wrong[name] = "has other bytes than when it was made"
            elif name in remembered:
                memory.forget([path])  # it was the memory that was damaged
        except PermissionError:
            raise
        except OSError as error:
            wrong[name] = f"cannot be read ({error})"
    return wrong

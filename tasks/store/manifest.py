"""The manifest of an artifact: what made it, what it holds, and whether it still holds it.

`manifest.json` is sealed: it carries a digest of itself, so that a change to it is noticed like one to any other
file.  Its fields: `recipe`, `key`, `files` (name -> SHA-256), `digest` (of `files`), `items` (image id -> digest of
its part), `parts` (image id -> names of its files), `bytes`, `seconds` (of the attempt that finished it), `made`,
`metrics`, and what the caller adds.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.store.digests import DigestMemory, file_digest, files_below, json_digest
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.journal import item_files

MANIFEST = "manifest.json"
ITEMS = "items.json"
METRICS = "metrics.json"


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


def named_files(folder: Path) -> dict[str, Path]:
    """Relative name -> path of the files that make up a result: all but the manifest and hidden ones."""
    files = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    files.pop(MANIFEST, None)
    return files


def compose(
    work_dir: Path, recipe: Mapping[str, Any], digests: Mapping[str, str], seconds: float, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The sealed manifest of a result.

    Args:
        work_dir: folder of the result, still with its journal.
        recipe: what made it.
        digests: name -> digest of each of its files.
        seconds: how long the attempt that finished it took.
        about: further facts.

    Raises:
        DamagedArtifact: a file is no longer what it was when its image was journaled.
    """
    parts = _parts(work_dir, digests)
    metrics = work_dir / METRICS
    manifest = {
        "recipe": dict(recipe),
        "key": work_dir.name,
        "files": dict(digests),
        "digest": json_digest(digests),
        "items": _items(work_dir, parts, digests),
        "parts": parts,
        "bytes": sum((work_dir / name).stat().st_size for name in digests),
        "seconds": round(seconds, 3),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": read_json(metrics) if metrics.exists() else {},
        **about,
    }
    return {**manifest, "seal": seal_of(manifest)}


def _parts(work_dir: Path, digests: Mapping[str, str]) -> dict[str, list[str]]:
    """Image id -> names of its files, as journaled; hidden files are no part of the result."""
    parts = {}
    for image_id, files in item_files(work_dir).items():
        for name, digest in files.items():
            hidden = any(part.startswith(".") for part in name.split("/"))
            if not hidden and digests.get(name) != digest:
                raise DamagedArtifact(
                    f"{work_dir / name} changed after its image was finished; run again: it will be made anew"
                )
        parts[image_id] = sorted(name for name in files if name in digests)
    return parts


def _items(work_dir: Path, parts: Mapping[str, list[str]], digests: Mapping[str, str]) -> dict[str, str]:
    """Image id -> digest of its part: as the stage wrote it, or from the files that it journaled."""
    if (work_dir / ITEMS).exists():
        return dict(read_json(work_dir / ITEMS))
    return {image_id: json_digest({name: digests[name] for name in names}) for image_id, names in parts.items()}


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
    return dict(manifest)


def faults_of(folder: Path, manifest: Mapping[str, Any], memory: DigestMemory, *, reread: bool) -> list[Fault]:
    """What is wrong with the files of a result.

    Args:
        folder: the result.
        manifest: its manifest.
        memory: remembered digests.
        reread: read every byte again instead of trusting the file system's signature of unchanged files.

    Raises:
        PermissionError: a file may not be read.
    """
    label, expected = label_of(folder), manifest["files"]
    try:
        present = named_files(folder)
    except FileNotFoundError as error:
        return [Fault(label, MANIFEST, f"is gone ({error})")]  # set aside by another run just now
    faults = [Fault(label, name, "is missing") for name in expected if name not in present]
    faults += [Fault(label, name, "does not belong to it") for name in present if name not in expected]
    known = {name: path for name, path in present.items() if name in expected}
    try:
        remembered = {} if reread else memory.of_files(known)
    except OSError:
        remembered = {}  # one of them cannot be read: find out which
    for name, path in known.items():
        if remembered.get(name) == expected[name]:
            continue
        try:
            if file_digest(path) != expected[name]:
                faults.append(Fault(label, name, "has other bytes than when it was made"))
            elif name in remembered:
                memory.forget(folder)  # it was the memory that was damaged
        except PermissionError:
            raise
        except OSError as error:
            faults.append(Fault(label, name, f"cannot be read ({error})"))
    return faults

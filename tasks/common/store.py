"""The artifact store: one immutable folder per result, found by what made it.

    <root>/<stage>/<key>/{..., manifest.json}     results
    <root>/.work/<stage>/<key>/                   results in the making; kept after a crash, to be resumed
    <root>/.damaged/                              results whose bytes are no longer what their manifest says
    <root>/.locks/, .digests.sqlite, .runs/       locks, remembered digests, records of runs

`key` hashes the stage, its version, its settings and the content digests of its inputs.  A result is complete or absent: it is
made in `.work`, its manifest is written last, and one rename brings it home.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.tasks.common.digests import DigestMemory, file_digest, files_below, json_digest
from tag2mask.tasks.common.durable import NoRoomOnDisk, read_json, sync_files, write_json
from tag2mask.tasks.common.journal import RESUME, finished_items

MANIFEST = "manifest.json"
ITEMS = "items.json"
MINIMUM_FREE_BYTES = 200 * 2**20
"""Below this much free disk no stage is started."""


@dataclass(frozen=True)
class Recipe:
    """What makes a result: everything that may change its bytes, and nothing else."""

    stage: str
    version: int
    config: Mapping[str, Any]
    """Settings as JSON values, without paths."""
    inputs: Mapping[str, str]
    """Name of each input -> its content digest."""

    def as_json(self) -> dict[str, Any]:
        """The recipe as it stands in a manifest."""
        return {
            "stage": self.stage,
            "version": self.version,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
        }

    @property
    def key(self) -> str:
        """Name of the result: the first 20 hex digits of the digest of the recipe."""
        return json_digest(self.as_json())[:20]


@dataclass(frozen=True)
class Artifact:
    """A complete result."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Stage that made it."""
        return str(self.manifest["recipe"]["stage"])

    @property
    def key(self) -> str:
        """Its name below its stage."""
        return self.path.name

    @property
    def digest(self) -> str:
        """Digest of all its names and bytes."""
        return str(self.manifest["digest"])

    @property
    def items(self) -> Mapping[str, str]:
        """Image id -> digest of what it holds for that image; empty for a result that is not per image."""
        return self.manifest["items"]  # type: ignore[no-any-return]

    @property
    def label(self) -> str:
        """`stage/key`, as the command line takes it."""
        return f"{self.stage}/{self.key}"


class DamagedArtifact(RuntimeError):
    """A result is not what its manifest says."""


class Store:
    """Finds, builds and keeps artifacts below one folder.  Safe to use from several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self.digests = DigestMemory(self.root / ".digests.sqlite")

    def home(self, stage: str, key: str) -> Path:
        """Where the complete result stands or would stand."""
        return self.root / stage / key

    def workshop(self, stage: str, key: str) -> Path:
        """Where the result is made."""
        return self.root / ".work" / stage / key

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        """Hold a named lock.  The kernel gives it back when its holder dies, by whatever signal.

        Raises:
            BlockingIOError: somebody else holds it and `wait` is off.
        """
        path = self.root / ".locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            yield

    def find(self, stage: str, key: str, *, reread: bool = False) -> Artifact | None:
        """The complete, undamaged result, or None where there is none.

        Args:
            stage: stage of the result.
            key: name of the result.
            reread: read every byte again instead of trusting the file system's signature of unchanged files.

        Raises:
            DamagedArtifact: it exists, but a file is missing, was added, or has other bytes; the message names it.
        """
        home = self.home(stage, key)
        if not home.is_dir():
            return None
        try:
            manifest = read_json(home / MANIFEST)
            artifact = Artifact(home, manifest)
            expected = manifest["files"]
        except (OSError, ValueError, KeyError) as error:
            raise DamagedArtifact(f"{stage}/{key}: {MANIFEST} cannot be read ({error})") from error
        fault = self._fault(home, expected, manifest, reread)
        if fault:
            raise DamagedArtifact(f"{stage}/{key}: {fault}")
        return artifact

    def _fault(self, folder: Path, expected: Mapping[str, str], manifest: Mapping[str, Any], reread: bool) -> str:
        """What is wrong with the files of a result, or nothing."""
        if manifest.get("seal") != _seal(manifest):
            return f"{MANIFEST} was changed"
        present = _named_files(folder)
        for name in expected:
            if name not in present:
                return f"{name} is missing"
        for name in present:
            if name not in expected:
                return f"{name} does not belong to it"
        digests = {n: file_digest(p) for n, p in present.items()} if reread else self.digests.of_files(present)
        for name, digest in digests.items():
            if digest != expected[name]:
                return f"{name} has other bytes than when it was made"
        return ""

    def set_aside(self, stage: str, key: str) -> Path:
        """Move a damaged result away, so that it is rebuilt; `gc` deletes it.  Returns where it went."""
        target = self.root / ".damaged" / f"{stage}-{key}-{time.time_ns()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.home(stage, key), target)
        return target

    def build(self, recipe: Recipe, make: Callable[[Path], None], *, about: Mapping[str, Any] | None = None) -> Artifact:
        """Make a result in its workshop and bring it home.  The caller holds the lock `<stage>-<key>`.

        Whatever an interrupted attempt left in the workshop is handed to `make`, which resumes from it.

        Args:
            recipe: what the result is made of.
            make: writes the files below the folder it is given.
            about: further facts for the manifest (item keys, versions), which do not enter the key.

        Raises:
            NoRoomOnDisk: before anything is done, if less than 200 MiB are free, or while writing.
        """
        workshop = self.workshop(recipe.stage, recipe.key)
        workshop.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < MINIMUM_FREE_BYTES:
            raise NoRoomOnDisk(
                f"only {free / 2**20:.0f} MiB free on the disk of {self.root}; at least 200 MiB are needed to start "
                f"{recipe.stage}: free some, or remove old artifacts with `tag2mask gc`"
            )
        if not self._finished(workshop):
            (workshop / MANIFEST).unlink(missing_ok=True)
            started = time.time()
            make(workshop)
            self._seal_workshop(workshop, recipe, started, about or {})
        return self._bring_home(workshop, recipe)

    def _finished(self, workshop: Path) -> bool:
        """Whether an earlier attempt got as far as its manifest, so that only the rename is left."""
        try:
            manifest = read_json(workshop / MANIFEST)
            return not self._fault(workshop, manifest["files"], manifest, reread=True)
        except (OSError, ValueError, KeyError):
            return False

    def _seal_workshop(self, workshop: Path, recipe: Recipe, started: float, about: Mapping[str, Any]) -> None:
        present = _named_files(workshop)
        digests = {name: file_digest(path) for name, path in present.items()}
        sync_files(list(present.values()))
        metrics = workshop / "metrics.json"
        manifest = {
            "recipe": recipe.as_json(),
            "key": recipe.key,
            "files": digests,
            "digest": json_digest(digests),
            "items": _items(workshop, digests),
            "bytes": sum(path.stat().st_size for path in present.values()),
            "seconds": round(time.time() - started, 3),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "metrics": read_json(metrics) if metrics.exists() else {},
            **about,
        }
        write_json(workshop / MANIFEST, {**manifest, "seal": _seal(manifest)})

    def _bring_home(self, workshop: Path, recipe: Recipe) -> Artifact:
        home = self.home(recipe.stage, recipe.key)
        shutil.rmtree(workshop / RESUME, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        if home.exists():  # a forced rebuild
            retired = self.root / ".damaged" / f"replaced-{recipe.stage}-{recipe.key}-{time.time_ns()}"
            retired.parent.mkdir(parents=True, exist_ok=True)
            os.rename(home, retired)
        os.rename(workshop, home)
        sync_files([home])
        return Artifact(home, read_json(home / MANIFEST))

    def artifacts(self, stage: str | None = None) -> list[Artifact]:
        """All complete results with a readable manifest, oldest first, without checking their bytes."""
        found = []
        for manifest in self.root.glob(f"{stage or '[!.]*'}/*/{MANIFEST}"):
            try:
                found.append(Artifact(manifest.parent, read_json(manifest)))
            except (OSError, ValueError):
                continue  # half deleted by a collector beside us, or damaged: `verify` reports the latter
        return sorted(found, key=lambda artifact: (artifact.manifest["made"], artifact.label))


def _named_files(folder: Path) -> dict[str, Path]:
    """Relative name -> path of the files that make up a result."""
    files = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    files.pop(MANIFEST, None)
    return files


def _seal(manifest: Mapping[str, Any]) -> str:
    """Digest of the manifest itself, so that a damaged manifest is noticed."""
    return json_digest({name: value for name, value in manifest.items() if name != "seal"})


def _items(workshop: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Image id -> digest of its part: as the stage wrote it, or from the files that carry the id as their stem."""
    if (workshop / ITEMS).exists():
        return dict(read_json(workshop / ITEMS))
    parts: dict[str, dict[str, str]] = {image_id: {} for image_id in finished_items(workshop)}
    for name, digest in digests.items():
        stem = Path(name).stem
        if stem in parts:
            parts[stem][name] = digest
    return {image_id: json_digest(part) for image_id, part in parts.items()}

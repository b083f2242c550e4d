"""What makes a result, and the complete result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.tasks.store.digests import json_digest
from tag2mask.tasks.store.parts import Part, read_parts


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
    """A complete result.  What its manifest counts is at hand; what it lists is read from its table when asked for."""

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
    def images(self) -> int:
        """How many images it holds something for; 0 for a result that is not per image."""
        return int(self.manifest["images"])

    def parts(self) -> Iterator[Part]:
        """What it holds, image by image, by id, and then the files of no image."""
        return read_parts(self.path)

    def items(self) -> Iterator[tuple[str, str]]:
        """(image id, digest of what it holds for that image), by id."""
        return ((part.image_id, part.item) for part in self.parts() if part.item)

    def files(self) -> dict[str, str]:
        """Name -> SHA-256 of each of its files."""
        return {name: digest for part in self.parts() for name, digest in part.files.items()}

    @property
    def label(self) -> str:
        """`stage/key`, as the command line takes it."""
        return f"{self.stage}/{self.key}"

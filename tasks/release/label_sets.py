"""A label set wherever it lies: a release, an artifact, or a folder of PNGs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tag2mask.configs.errors import UserError
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.tables import read_table
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.manifest import DamagedArtifact

FOLDERS = {name: stage.folder for name, stage in CATALOG.items() if stage.labels}
"""Stage that makes label maps -> where they lie in its artifact."""


class NoLabels(UserError, ValueError):
    """There are no label maps there; the message says what was looked at."""


@dataclass(frozen=True)
class LabelSet:
    """Label maps by image id."""

    title: str
    files: Mapping[str, Path]
    """Image id -> `<id>.png`."""
    classes: tuple[str, ...] | None
    """Names of the classes 1..C; None where nothing says them."""
    dataset: Path | None
    """`index_dataset` artifact with the images, where it is still there."""
    digests: Mapping[str, str]
    """Image id -> SHA-256 of the file, where it is known."""

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The PNGs in a folder, or in the folder `labels` of a release or of predictions.

        Raises:
            NoLabels: there are none.
        """
        found = sorted(folder.glob("*.png")) or sorted(folder.glob("labels/*.png"))
        files = {path.stem: path for path in found}
        if not files:
            raise NoLabels(f"{folder}: holds no label maps <id>.png")
        return cls(str(folder), files, None, None, {})

    @classmethod
    def of_artifact(cls, artifact: Artifact, root: Path) -> Self:
        """The label maps of an artifact.

        Raises:
            NoLabels: its stage makes none.
        """
        if artifact.stage not in FOLDERS:
            raise NoLabels(f"{artifact.label}: {artifact.stage} makes no labels; {', '.join(FOLDERS)} do")
        folder = artifact.path / FOLDERS[artifact.stage]
        files = {path.stem: path for path in sorted(folder.glob("*.png"))}
        names = {image_id: path.relative_to(artifact.path).as_posix() for image_id, path in files.items()}
        known: Mapping[str, str] = artifact.files()
        dataset = existing_dataset(root, artifact.manifest["input_paths"].get("dataset"))
        classes = ImageIndex.read(dataset).classes if dataset else None
        return cls(artifact.label, files, classes, dataset, {i: known[n] for i, n in names.items() if n in known})

    @classmethod
    def of_release(cls, folder: Path, manifest: Mapping[str, Any], root: Path, title: str) -> Self:
        """The label maps of a release or a candidate.

        Raises:
            DamagedArtifact: one of them, or the table of them, is missing.
        """
        if not (folder / "images.csv").is_file():
            raise DamagedArtifact(f"{title}: {folder / 'images.csv'} is missing; `tag2mask verify` lists all damage")
        digests = {row["image_id"]: row["label_sha256"] for row in read_table(folder / "images.csv")}
        files = {image_id: folder / "labels" / f"{image_id}.png" for image_id in digests}
        if missing := [path for path in files.values() if not path.is_file()]:
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise DamagedArtifact(f"{title}: {missing[0]} is missing{more}; `tag2mask verify` lists all damage")
        dataset = existing_dataset(root, manifest["dataset"])
        return cls(title, files, tuple(manifest["classes"]), dataset, digests)


def existing_dataset(root: Path, label: str | None) -> Path | None:
    """Folder of an `index_dataset` artifact of the store, if it is there."""
    return root / label if label is not None and (root / label / "index.csv").exists() else None

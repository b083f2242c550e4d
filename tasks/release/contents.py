"""What a release holds, and the digest that names its content."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE, class_table
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.release.comparison import Comparison
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.digests import json_digest
from tag2mask.tasks.store.files import write_file, write_json
from tag2mask.tasks.store.manifest import DamagedArtifact

README = """Labels made from image-level tags.

labels/<image_id>.png   8-bit palette PNG: 0 background, 1.. the classes of classes.csv, 255 ignored (trains nothing)
classes.csv             number, name and color of each label value
tags.csv                the tags of each image
images.csv              size and content digests (SHA-256) of each image and its labels
signals.json            signals of quality that need no masks
corrections.csv         the images that people corrected, where there are some
comparison.json, .csv   what changed since the release before
report.html             the run that made them
manifest.json           artifacts, recipes, settings, versions, the gate's verdict, digests of all files
"""


@dataclass(frozen=True)
class Draft:
    """A finished run's labels, before the gate."""

    labels: Artifact
    dataset: Artifact
    signals: Artifact
    """Of `measure_labels`."""
    report: Artifact | None = None

    @property
    def index(self) -> ImageIndex:
        """The images that have labels."""
        return ImageIndex.read(self.dataset.path).split("train")

    @property
    def corrected(self) -> int:
        """Images that people corrected."""
        table = self.labels.path / CORRECTED_TABLE
        return len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.is_file() else 0

    def label_digests(self) -> dict[str, str]:
        """Image id -> SHA-256 of its label map.

        Raises:
            DamagedArtifact: an image has none.
        """
        known: Mapping[str, str] = self.labels.files()
        missing = [image_id for image_id in self.index.ids if f"{image_id}.png" not in known]
        if missing:
            raise DamagedArtifact(f"{self.labels.label}: {len(missing)} images have no labels, e.g. {missing[0]}")
        return {image_id: known[f"{image_id}.png"] for image_id in self.index.ids}

    def digest(self) -> str:
        """Digest of what a release is: labels, classes and tags.  Reports, times and settings do not change it."""
        index = self.index
        tags = {record.image_id: list(record.tags) for record in index}
        return json_digest({"labels": self.label_digests(), "classes": list(index.classes), "tags": tags})

    def expected(self) -> dict[str, str]:
        """Name -> SHA-256 of the released label files."""
        return {f"labels/{image_id}.png": digest for image_id, digest in self.label_digests().items()}

    def write(self, out: Path, comparison: Comparison | None, threshold: float) -> None:
        """Write all files but the manifest.

        Args:
            out: folder to write to.
            comparison: with the release before; None for the first.
            threshold: share of changed pixels from which an image counts as changed.
        """
        (out / "labels").mkdir()
        for image_id in self.index.ids:
            shutil.copyfile(self.labels.path / f"{image_id}.png", out / "labels" / f"{image_id}.png")
        write_table(out / "classes.csv", class_table(self.index.classes))
        write_table(out / "tags.csv", tag_table(self.index))
        write_table(out / "images.csv", self._images())
        shutil.copyfile(self.signals.path / "signals.json", out / "signals.json")
        if self.corrected:
            shutil.copyfile(self.labels.path / CORRECTED_TABLE, out / CORRECTED_TABLE)
        page = None if self.report is None else self.report.path / "report.html"
        if page is not None and page.exists():
            shutil.copyfile(page, out / "report.html")
        write_json(out / "comparison.json", comparison_json(comparison, threshold))
        if comparison is not None:
            write_table(out / "comparison.csv", comparison.image_rows())
        write_file(out / "README.txt", lambda file: file.write(README.encode()))

    def _images(self) -> list[dict[str, Any]]:
        labels = self.label_digests()
        files: Mapping[str, str] = self.dataset.files()
        return [
            {
                "image_id": record.image_id,
                "image": record.file.removeprefix("images/"),
                "image_sha256": files[record.file],
                "width": record.width,
                "height": record.height,
                "label_sha256": labels[record.image_id],
            }
            for record in self.index
        ]


def comparison_json(comparison: Comparison | None, threshold: float) -> dict[str, Any]:
    """`comparison.json` of a release; `before` is null for the first."""
    if comparison is None:
        return {"before": None}
    changed = {image.image_id: round(image.share, 6) for image in comparison.changed(0.0)}
    return {**comparison.summary(threshold), "changed_pixels": changed, "per_class": comparison.class_rows()}


def tag_table(index: ImageIndex) -> list[dict[str, Any]]:
    """One row an image, in the form in which tags are read."""
    return [
        {"image_id": record.image_id, "labels": " ".join(index.classes[number - 1] for number in record.tags)}
        for record in index
    ]

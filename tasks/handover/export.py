"""Write a release for other programs: a VOC folder, COCO JSON, or a plain folder with a table.

    voc     JPEGImages/, SegmentationClass/<id>.png, ImageSets/Segmentation/train.txt, labels.txt, tags.csv
    coco    images/, annotations.json (masks as RLE, see `coco_masks`)
    plain   images/, labels/<id>.png, index.csv, classes.csv

Images keep their bytes and their suffix.  The folder is made beside its place and renamed: it is whole or absent.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.label_maps import IGNORE, class_table, read_labels
from tag2mask.tasks.metrics.step_scores import write_table
from tag2mask.tasks.release.contents import tag_table
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.release.releases import Release
from tag2mask.tasks.store.digests import files_below
from tag2mask.tasks.store.files import disk_full_as_error, sync_files, write_file
from tag2mask.tasks.store.manifest import DamagedArtifact, faults_of
from tag2mask.tasks.store.store import Store

Format = Literal["voc", "coco", "plain"]
Images = Literal["copy", "link", "none"]


class CannotExport(UserError, ValueError):
    """The release cannot be written there, or not whole; the message says why."""


@dataclass(frozen=True)
class Parcel:
    """What is handed over."""

    release: Release
    labels: LabelSet
    index: ImageIndex
    """The labeled images."""
    images: Images

    def place(self, record: ImageRecord, folder: Path) -> str:
        """Put an image into a folder; the name it has there."""
        name = Path(record.file).name
        source = self.index.folder / record.file
        if self.images == "copy":
            shutil.copyfile(source, folder / name)
        elif self.images == "link":
            os.link(source, folder / name)
        return name

    @property
    def origin(self) -> dict[str, Any]:
        """What says where a hand-over comes from."""
        manifest = self.release.manifest
        return {"release": self.release.title, "digest": manifest["digest"], "made": manifest["made"]}


def export(store: Store, release: Release, out: Path, form: Format, images: Images = "copy") -> int:
    """Write a release for other programs.

    Args:
        store: the store.
        release: the release.
        out: folder to write; it must not exist, or be empty.
        form: see above.
        images: `copy` them, `link` them (hard links: whoever changes one there changes the store's), or `none`.

    Returns:
        The number of images.

    Raises:
        CannotExport: `out` is not empty, or the images of the release are gone.
        DamagedArtifact: the release or its images are not what they were.
        NoRoomOnDisk: nothing was written.
    """
    parcel = _parcel(store, release, images)
    with whole_folder(out) as aside:
        _WRITERS[form](parcel, aside)
    return len(parcel.index)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` in one step when the block ends without an error.

    Raises:
        CannotExport: `out` is not empty.
        NoRoomOnDisk: nothing was written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CannotExport(f"{out} exists and is not empty: give another folder")
    aside = out.parent / f".{out.name}.part"
    with disk_full_as_error(out.parent):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            yield aside
            folders = [aside, *(path for path in aside.rglob("*") if path.is_dir())]
            sync_files(files_below(aside), folders=folders)
            os.rename(aside, out)  # an empty folder gives way
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_files([], folders=[out.parent])


def _parcel(store: Store, release: Release, images: Images) -> Parcel:
    """The release with its images, both looked over first."""
    faults = faults_of(release.path, release.manifest, store.digests, reread=True)
    if faults:
        raise DamagedArtifact(f"{release.title}: {faults[0].file} {faults[0].what}: nothing was exported")
    labels = LabelSet.of_release(release.path, release.manifest, store.root, release.title)
    if labels.dataset is None:
        raise CannotExport(
            f"{release.title}: its images ({release.manifest['dataset']}) are no longer in {store.root}; run the "
            "dataset's settings again, which indexes them anew"
        )
    label = str(release.manifest["dataset"])
    store.find(*label.split("/"))  # refuses what is damaged
    return Parcel(release, labels, ImageIndex.read(labels.dataset).only(labels.files), images)


def _voc(parcel: Parcel, out: Path) -> None:
    images, masks, lists = (out / name for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"))
    for folder in (images, masks, lists):
        folder.mkdir(parents=True)
    for record in parcel.index:
        parcel.place(record, images)
        shutil.copyfile(parcel.labels.files[record.image_id], masks / f"{record.image_id}.png")
    _write_lines(lists / "train.txt", parcel.index.ids)
    _write_lines(out / "labels.txt", ("background", *parcel.index.classes))
    write_table(out / "tags.csv", tag_table(parcel.index))


def _coco(parcel: Parcel, out: Path) -> None:
    from tag2mask.tasks.handover.coco_masks import annotations, categories

    (out / "images").mkdir()
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, record in enumerate(parcel.index, start=1):
        name = parcel.place(record, out / "images")
        images.append({"id": number, "file_name": name, "width": record.width, "height": record.height})
        found += annotations(read_labels(parcel.labels.files[record.image_id]), number, len(found) + 1)
    about = "Category 255 with iscrowd 1: ignored pixels. A pixel without annotation: background."
    content = {
        "info": {**parcel.origin, "description": about},
        "images": images,
        "categories": categories(parcel.index.classes),
        "annotations": found,
    }
    write_file(out / "annotations.json", lambda file: file.write(json.dumps(content, allow_nan=False).encode()))


def _plain(parcel: Parcel, out: Path) -> None:
    for name in ("images", "labels"):
        (out / name).mkdir()
    rows = []
    for record in parcel.index:
        labels = parcel.labels.files[record.image_id]
        name = parcel.place(record, out / "images")
        shutil.copyfile(labels, out / "labels" / f"{record.image_id}.png")
        rows.append(_plain_row(record, name, read_labels(labels), parcel.index.classes))
    write_table(out / "index.csv", rows)
    write_table(out / "classes.csv", class_table(parcel.index.classes))


def _plain_row(record: ImageRecord, name: str, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    pixels = np.bincount(labels.ravel(), minlength=256)
    return {
        "image_id": record.image_id,
        "image": f"images/{name}",
        "label": f"labels/{record.image_id}.png",
        "width": record.width,
        "height": record.height,
        "tags": " ".join(classes[number - 1] for number in record.tags),
        "labeled": " ".join(classes[number - 1] for number in np.flatnonzero(pixels[:IGNORE]).tolist() if number),
        "foreground_share": int(pixels[1:IGNORE].sum()) / labels.size,
        "ignored_share": int(pixels[IGNORE]) / labels.size,
    }


def _write_lines(path: Path, lines: tuple[str, ...]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    write_file(path, lambda file: file.write(text.encode()))


_WRITERS: Mapping[Format, Callable[[Parcel, Path], None]] = {"voc": _voc, "coco": _coco, "plain": _plain}

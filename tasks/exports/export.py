"""Write a release for other programs.

    voc            JPEGImages/, SegmentationClass/<id>.png, ImageSets/Segmentation/train.txt, labels.txt, tags.csv
    coco           images/, annotations.json (masks as RLE, see `coco_masks`)
    coco_panoptic  the same, panoptic.json, panoptic/<id>.png
    yolo           images/train/, labels/train/<id>.txt (polygons), data.yaml
    label_studio   images/, tasks.json (predictions), labels.xml (the labeling interface)
    cvat           images/, annotations.xml (CVAT for images 1.1), labels.json
    hugging_face   train/ with images, masks/ and metadata.jsonl, id2label.json
    plain          images/, labels/<id>.png, index.csv, classes.csv

Images keep their bytes and their suffix.  The folder is made beside its place and renamed: it is whole or absent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tag2mask.tasks.catalog.formats import ReleaseFormat, ReleaseImages
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.whole_folder import made_whole
from tag2mask.tasks.exports.coco import write_coco, write_coco_panoptic
from tag2mask.tasks.exports.cvat import write_cvat
from tag2mask.tasks.exports.export_set import CannotExport, ExportSet
from tag2mask.tasks.exports.label_studio import write_label_studio
from tag2mask.tasks.exports.plain_folders import write_hugging_face, write_plain, write_voc
from tag2mask.tasks.exports.yolo import write_yolo
from tag2mask.tasks.release.label_sets import LabelSet
from tag2mask.tasks.release.releases import Release
from tag2mask.tasks.store.manifest import DamagedArtifact, faults_of
from tag2mask.tasks.store.store import Store

WRITERS: Mapping[ReleaseFormat, Callable[[ExportSet, Path], tuple[str, ...]]] = {
    "voc": write_voc,
    "coco": write_coco,
    "coco_panoptic": write_coco_panoptic,
    "yolo": write_yolo,
    "label_studio": write_label_studio,
    "cvat": write_cvat,
    "hugging_face": write_hugging_face,
    "plain": write_plain,
}
"""Format -> what fills a folder, and says what the format cannot hold."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    images: int
    """How many."""
    losses: tuple[str, ...]
    """What the format cannot hold, a sentence each."""


def export(store: Store, release: Release, out: Path, form: ReleaseFormat, images: ReleaseImages = "copy") -> Exported:
    """Write a release for other programs.

    Args:
        store: the store.
        release: the release.
        out: folder to write; it must not exist, or be empty.
        form: see above.
        images: `copy` them, `link` them (hard links: whoever changes one there changes the store's), or `none`.

    Raises:
        CannotExport: the images of the release are gone.
        FolderInTheWay: `out` is not empty.
        DamagedArtifact: the release or its images are not what they were.
        NoRoomOnDisk: nothing was written.
    """
    export_set = _export_set(store, release, images)
    with made_whole(out) as aside:
        losses = WRITERS[form](export_set, aside)
    return Exported(len(export_set.index), losses)


def _export_set(store: Store, release: Release, images: ReleaseImages) -> ExportSet:
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
    manifest = release.manifest
    origin = {"release": release.title, "digest": manifest["digest"], "made": manifest["made"]}
    return ExportSet(release.title, labels, ImageIndex.read(labels.dataset).only(labels.files), images, origin)

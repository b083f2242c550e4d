"""Programs that are not ours read what we exported, and write what we read, in a Python of their own without ours.

    python foreign_readers.py READER FOLDER FILE.npz    the label maps that a reader finds in an export
    python foreign_readers.py supervision-writes MAPS.npz FOLDER    label maps as YOLO
    python foreign_readers.py datumaro-writes EXPORT FOLDER    a CVAT export, imported and exported again

Label maps are (H, W) uint8 by image id; classes have the numbers of `classes.json` beside the export, ignored is 255.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np


def numbers_of(folder: Path) -> dict[str, int]:
    """Name of a label -> its number."""
    names = json.loads((folder.parent / "classes.json").read_text())
    return {**{name: number for number, name in enumerate(names, start=1)}, "ignored": 255}


def by_cvat_sdk(folder: Path) -> dict[str, np.ndarray]:
    """Masks of CVAT's XML, decoded by CVAT's own SDK from the points that its server makes of them."""
    from cvat_sdk.masks import decode_mask

    numbers, maps = numbers_of(folder), {}
    for image in ElementTree.parse(folder / "annotations.xml").getroot().iter("image"):
        width, height = int(image.attrib["width"]), int(image.attrib["height"])
        found = np.zeros((height, width), np.uint8)
        for mask in image.iter("mask"):
            left, top, wide, high = (int(mask.attrib[name]) for name in ("left", "top", "width", "height"))
            points = [*map(int, mask.attrib["rle"].split(",")), left, top, left + wide - 1, top + high - 1]
            found[decode_mask(points, image_width=width, image_height=height)] = numbers[mask.attrib["label"]]
        maps[Path(image.attrib["name"]).stem] = found
    return maps


def by_datumaro(folder: Path) -> dict[str, np.ndarray]:
    """A whole CVAT export, imported."""
    import datumaro

    imported = datumaro.Dataset.import_from(str(folder), "cvat")
    labels = [label.name for label in imported.categories()[datumaro.AnnotationType.label]]
    numbers, maps = numbers_of(folder), {}
    for item in imported:
        found = np.zeros(item.media.size, np.uint8)
        for mask in item.annotations:
            found[np.asarray(mask.image, bool)] = numbers[labels[mask.label]]
        maps[Path(item.id).name] = found
    return maps


def by_supervision(folder: Path) -> dict[str, np.ndarray]:
    """A YOLO export, whose polygons are drawn by OpenCV."""
    import supervision

    places = (folder / "images" / "train", folder / "labels" / "train", folder / "data.yaml")
    read = supervision.DetectionDataset.from_yolo(*map(str, places), force_masks=True)
    maps = {}
    for path, image, detections in read:
        found = np.zeros(image.shape[:2], np.uint8)
        for number, mask in zip(detections.class_id, detections.mask if len(detections) else (), strict=True):
            found[mask] = numbers_of(folder)[read.classes[number]]
        maps[Path(path).stem] = found
    return maps


def supervision_writes(maps: Path, folder: Path) -> None:
    """Write label maps as supervision writes YOLO: a polygon a class."""
    import supervision

    names = [name for name, number in numbers_of(folder).items() if number != 255]
    images, annotations = {}, {}
    with np.load(maps) as drawn:
        for image_id, labels in drawn.items():
            shown = [number for number in np.unique(labels).tolist() if 0 < number < 255]
            masks = np.array([labels == number for number in shown]).reshape(-1, *labels.shape)
            path = str(folder / "images" / f"{image_id}.png")
            images[path] = np.repeat(labels[:, :, None], 3, axis=2)
            annotations[path] = supervision.Detections(
                xyxy=supervision.mask_to_xyxy(masks), mask=masks, class_id=np.array(shown, int) - 1
            )
    made = supervision.DetectionDataset(names, images, annotations)
    made.as_yolo(str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"))


def datumaro_writes(source: Path, folder: Path) -> None:
    """Import a CVAT export and export it for CVAT again."""
    import datumaro

    datumaro.Dataset.import_from(str(source), "cvat").export(str(folder), "cvat")


READERS = {"cvat-sdk": by_cvat_sdk, "datumaro": by_datumaro, "supervision": by_supervision}

if __name__ == "__main__":
    asked, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if asked in READERS:
        np.savez(target, **READERS[asked](source))
    else:
        {"supervision-writes": supervision_writes, "datumaro-writes": datumaro_writes}[asked](source, target)

"""Corrected masks as other programs hand them back: PNG files, Label Studio's and COCO's JSON, CVAT's XML."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from tag2mask.tasks.corrections.folder import BadCorrection
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.label_maps import IGNORE, ignored_name, read_labels
from tag2mask.tasks.mask_codecs import brush, coco_masks, cvat_masks
from tag2mask.tasks.mask_codecs.polygons import mask_of_polygon
from tag2mask.tasks.mask_codecs.runs import BadCode
from tag2mask.tasks.tags.readers.cvat import SHAPES
from tag2mask.tasks.tags.readers.label_studio import file_name, task_image
from tag2mask.tasks.tags.readers.source import entries, id_of, member, read_json, read_xml


class Region(NamedTuple):
    """A region that somebody drew or left as it was."""

    pixels: np.ndarray
    """(H, W) bool."""
    number: int
    """Its label."""
    level: int = 0
    """Regions of a higher one lie above."""


@dataclass(frozen=True)
class Reviewed:
    """What was given out to be corrected."""

    sizes: Mapping[str, tuple[int, int]]
    """Image id -> (height, width) in pixels."""
    classes: tuple[str, ...]
    """Names of the classes 1..C."""
    prelabels: Path
    """Folder with the masks that were given out, `<id>.png`."""

    def before(self, image_id: str) -> np.ndarray:
        """(H, W) uint8, the mask of an image as it was given out."""
        return read_labels(self.prelabels / f"{image_id}.png")

    def painted(self, image_id: str, regions: Iterable[Region]) -> np.ndarray:
        """(H, W) uint8 mask of regions, later ones above earlier ones.

        What a region adds to its class lies above its neighbors of the same level, which are as they were given out: a
        program lists them where it likes, and whoever extends a region over another means to.
        """
        mask, before = np.zeros(self.sizes[image_id], np.uint8), self.before(image_id)
        for _, level in groupby(regions, key=lambda region: region.level):
            shapes = list(level)
            for shape in shapes:
                mask[shape.pixels] = shape.number
            for shape in shapes:
                mask[shape.pixels & (before != shape.number)] = shape.number
        return mask

    def number(self, name: object, where: str) -> int:
        """Number of a label.

        Raises:
            BadCorrection: no class has that name.
        """
        if name == ignored_name(self.classes):
            return IGNORE
        if name not in self.classes:
            raise BadCorrection(f"{where}: {name!r:.80} is no class ({', '.join(self.classes)}); rename the label")
        return self.classes.index(str(name)) + 1

    def size(self, image_id: str, where: str) -> tuple[int, int]:
        """(height, width) of an image.

        Raises:
            BadCorrection: it was not given out.
        """
        if image_id not in self.sizes:
            raise BadCorrection(f"{where}: image {image_id!r} was not given out by this review; take it away")
        return self.sizes[image_id]


@dataclass(frozen=True)
class Corrected:
    """What came back."""

    masks: Mapping[str, np.ndarray]
    """Image id -> (H, W) uint8, 0 background, 1..C class, 255 ignored."""
    source: str
    """The program or format it came from."""
    all_seen: bool
    """Whether an image that is there was looked at by somebody; else only one whose mask changed."""


def read_corrected(folder: Path, given: Reviewed) -> Corrected:
    """Masks in a folder: `<id>.png`, or one export as JSON or XML.

    Raises:
        BadCorrection: nothing or several exports there, a mask of another size, a label or an image that is not known,
            a mask that is damaged.
        BadTable: the export cannot be read.
    """
    files = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.name.startswith(".")]
    pictures = [path for path in files if path.suffix.lower() == ".png"]
    exports = [path for path in files if path.suffix.lower() in (".json", ".xml")]
    if len(exports) + bool(pictures) != 1:
        raise BadCorrection(
            f"{folder}: holds {len(exports)} exports and {len(pictures)} masks; put corrected masks <id>.png there, or "
            "one export of Label Studio (JSON), CVAT (XML) or COCO (JSON)"
        )
    if pictures:
        return Corrected({path.stem: _picture(path, given) for path in pictures}, "PNG", True)
    found = _export(exports[0], given)
    if not found.masks:
        raise BadCorrection(
            f"{exports[0]}: holds no corrected image; submit tasks in Label Studio before exporting, and export from "
            "CVAT as 'CVAT for images 1.1'"
        )
    return found


def _export(path: Path, given: Reviewed) -> Corrected:
    """What a program exported."""
    if path.suffix.lower() == ".xml":
        return Corrected(dict(_cvat(path, given)), "CVAT", False)
    content = read_json(path)
    if isinstance(content, list):
        return Corrected(dict(_label_studio(content, path, given)), "Label Studio", True)
    return Corrected(dict(_coco(content, path, given)), "COCO", False)


def _picture(path: Path, given: Reviewed) -> np.ndarray:
    size = given.size(path.stem, str(path))
    try:
        mask = read_labels(path)
    except ValueError as error:
        raise BadCorrection(str(error)) from error
    if mask.shape != size:
        raise BadCorrection(f"{path}: is {mask.shape[1]}x{mask.shape[0]}, its image {size[1]}x{size[0]}")
    beyond = sorted(set(np.unique(mask).tolist()) - {IGNORE, *range(len(given.classes) + 1)})
    if beyond:
        raise BadCorrection(f"{path}: holds {beyond[0]}; classes are 1 to {len(given.classes)}, 255 is ignored")
    return mask


def _label_studio(tasks: list[Any], path: Path, given: Reviewed) -> Iterator[tuple[str, np.ndarray]]:
    """Of each task that somebody submitted the newest annotation; later regions lie above earlier ones."""
    for number, task in enumerate(tasks):
        where = f"{path}: task {number}"
        done = [one for _, one in entries(task, "annotations", where) if not one.get("was_cancelled")]
        if not done:
            continue
        name = task["data"].get("image_id") if isinstance(task.get("data"), dict) else None
        image_id = name if isinstance(name, str) else id_of(file_name(task_image(task, where), where), where)
        size = given.size(image_id, where)
        regions = []
        for place, result in entries(done[-1], "result", where):
            kind, value = member(result, "type", str, place), member(result, "value", dict, place)
            for label in value.get(kind, ()) if kind.endswith("labels") else ():
                regions.append(Region(_region(value, size, place), given.number(label, place)))
        yield image_id, given.painted(image_id, regions)


def _region(value: Mapping[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    """(H, W) bool of a brush, a polygon or a rectangle that is not turned, whose sides are in hundredths."""
    try:
        if "rle" in value:
            return brush.decode(value["rle"], size)
        if "points" in value:
            return mask_of_polygon(np.array(value["points"], float) / 100 * size[::-1], size)
        left, top, width, height = (float(value[side]) for side in ("x", "y", "width", "height"))
        corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
        if not value.get("rotation"):
            return mask_of_polygon(np.array(corners) / 100 * size[::-1], size)
    except (BadCode, KeyError, TypeError, ValueError) as error:
        raise BadCorrection(f"{where}: its region cannot be read ({error}); export again") from error
    raise BadCorrection(f"{where}: is a turned rectangle; draw it with the brush")


def _cvat(path: Path, given: Reviewed) -> Iterator[tuple[str, np.ndarray]]:
    """Masks, polygons and boxes of each image, those of a higher `z_order` above."""
    root = read_xml(path)
    if root.tag != "annotations":
        raise BadCorrection(f"{path}: its first element is <{root.tag}>; export as 'CVAT for images 1.1'")
    for image in root.iterfind("image"):
        where = f"{path}: image {image.get('name', '')!r:.80}"
        image_id = id_of(image.get("name"), where)
        size = given.size(image_id, where)
        regions = [
            Region(_shape(shape, size, where), given.number(shape.get("label"), where), int(shape.get("z_order") or 0))
            for shape in image
            if shape.tag in SHAPES and shape.tag != "tag"
        ]
        yield image_id, given.painted(image_id, sorted(regions, key=lambda region: region.level))


def _shape(shape: Element, size: tuple[int, int], where: str) -> np.ndarray:
    """(H, W) bool of a shape of CVAT."""
    if shape.tag not in ("mask", "polygon", "box"):
        raise BadCorrection(f"{where}: a <{shape.tag}> is no mask; draw it with the brush or as a polygon")
    try:
        if float(shape.get("rotation") or 0):
            raise BadCorrection(f"{where}: a <{shape.tag}> is turned; draw it with the brush or as a polygon")
        if shape.tag == "mask":
            return cvat_masks.decode(shape.attrib, size)
        if shape.tag == "polygon":
            points = [pair.split(",") for pair in shape.attrib["points"].split(";")]
        else:
            left, top, right, bottom = (shape.attrib[side] for side in ("xtl", "ytl", "xbr", "ybr"))
            points = [[left, top], [right, top], [right, bottom], [left, bottom]]
        return mask_of_polygon(np.array(points, float).reshape(-1, 2), size)
    except BadCorrection:
        raise
    except (BadCode, KeyError, ValueError) as error:
        raise BadCorrection(f"{where}: a <{shape.tag}> cannot be read ({error}); export again") from error


def _coco(content: Any, path: Path, given: Reviewed) -> Iterator[tuple[str, np.ndarray]]:
    """Masks of each image of a COCO file, later annotations above earlier ones."""
    names = {member(one, "id", int, place): one.get("name") for place, one in entries(content, "categories", str(path))}
    regions: dict[int, list[Region]] = {}
    ids: dict[int, str] = {}
    for place, image in entries(content, "images", str(path)):
        image_id = id_of(member(image, "file_name", str, place), place)
        given.size(image_id, place)
        number = member(image, "id", int, place)
        ids[number], regions[number] = image_id, []
    for place, one in entries(content, "annotations", str(path)):
        if one.get("image_id") not in ids or one.get("category_id") not in names:
            raise BadTable(f"{place}: its image or its category is not in this file; export again")
        try:
            pixels = coco_masks.decode(one.get("segmentation"), given.sizes[ids[one["image_id"]]])
        except BadCode as error:
            raise BadCorrection(f"{place}: its segmentation {error}; export again") from error
        regions[one["image_id"]].append(Region(pixels, given.number(names[one["category_id"]], place)))
    yield from ((ids[number], given.painted(ids[number], found)) for number, found in regions.items())

"""Tags from CVAT's XML for images: its tags, and the labels of its shapes."""

from collections.abc import Collection
from pathlib import Path

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.label_maps import ignored_among
from tag2mask.tasks.tags.readers.source import Gathered, TagList, read_xml

SHAPES = ("tag", "box", "polygon", "polyline", "points", "ellipse", "cuboid", "skeleton", "mask")


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Labels of each image's tags and shapes.

    Raises:
        BadTable: not CVAT's XML for images, a shape without a label or with one that the task does not have.
    """
    root = read_xml(path)
    if root.tag != "annotations":
        raise BadTable(f"{path}: its first element is <{root.tag}>, not <annotations>; export as 'CVAT for images 1.1'")
    if root.find("track") is not None:
        raise BadTable(f"{path}: holds tracks of a video; export as 'CVAT for images 1.1'")
    meta = root.find("meta")
    known = {label.findtext("name", "").strip() for label in meta.iter("label")} if meta is not None else set()
    ignored = ignored_among(known)
    gathered = Gathered()
    for number, image in enumerate(root.iterfind("image")):
        where = f"{path}: image {number} ({image.get('name', 'without a name'):.80})"
        image_id = gathered.image(image.get("name"), where)
        for shape in image:
            if shape.tag not in SHAPES:
                continue
            label = (shape.get("label") or "").strip()
            if label == ignored and shape.tag == "mask":
                continue
            if known and label not in known:
                raise BadTable(
                    f"{where}: label {label!r} of a <{shape.tag}> is none of the task's labels; export it again"
                )
            gathered.tag(image_id, label, where)
    notes = [f"masks labeled {ignored!r} are no tag"] if ignored else []
    return gathered.finish("shapes are not read: their labels, and CVAT's tags, are an image's tags", *notes)

"""A release as CVAT's XML for images, its masks as run lengths, and the labels that a task needs."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tag2mask.tasks.dataset.label_maps import IGNORE, ignored_name, web_color
from tag2mask.tasks.exports.export_set import ExportSet, write_json_line
from tag2mask.tasks.mask_codecs import cvat_masks
from tag2mask.tasks.store.files import write_file


def write_cvat(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `images/`, `annotations.xml` (CVAT for images 1.1) and `labels.json`, what a new task asks for."""
    (out / "images").mkdir()
    labels = _labels(export_set.index.classes)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    named = ElementTree.SubElement(task, "labels")
    for label in labels:
        entry = ElementTree.SubElement(named, "label")
        for key in ("name", "color", "type"):
            ElementTree.SubElement(entry, key).text = str(label[key])
    for number, record in enumerate(export_set.index):
        name = export_set.place(record, out / "images")
        about = {"id": str(number), "name": name, "width": str(record.width), "height": str(record.height)}
        image = ElementTree.SubElement(root, "image", about)
        for value, mask in export_set.masks(record, ignored=True):
            about = {"label": export_set.name_of(value), "source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, "mask", {**about, **cvat_masks.encode(mask)})
    ElementTree.indent(root)
    write_file(
        out / "annotations.xml",
        lambda file: ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True),
    )
    write_json_line(out / "labels.json", labels)
    return (f"nothing is lost: ignored pixels are masks of the label {export_set.ignored!r}",)


def _labels(classes: tuple[str, ...]) -> list[dict[str, object]]:
    """What CVAT's form for a new task takes as its labels."""
    named = [*enumerate(classes, start=1), (IGNORE, ignored_name(classes))]
    return [{"name": name, "color": web_color(number), "type": "mask", "attributes": []} for number, name in named]

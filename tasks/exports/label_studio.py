"""A release as predictions of Label Studio: tasks whose masks are brushes, and the labeling interface they need."""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from tag2mask.tasks.dataset.image_index import ImageRecord
from tag2mask.tasks.dataset.label_maps import IGNORE, ignored_name, web_color
from tag2mask.tasks.exports.export_set import ExportSet, write_json_line, write_text
from tag2mask.tasks.mask_codecs import brush

LOCAL = "/data/local-files/?d="
"""Address of a file below the folder that Label Studio serves (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT)."""
CONTROL, IMAGE = "label", "image"
"""Names of the brush and of the image in the interface."""


def write_label_studio(export_set: ExportSet, out: Path) -> tuple[str, ...]:
    """Write `images/`, `tasks.json` and `labels.xml`."""
    (out / "images").mkdir()
    tasks = []
    for record in export_set.index:
        name = export_set.place(record, out / "images")
        tasks.append(task_of(export_set, record, f"{LOCAL}images/{quote(name)}"))
    write_json_line(out / "tasks.json", tasks)
    write_text(out / "labels.xml", interface(export_set.index.classes))
    return (f"nothing is lost: ignored pixels are brushes of the label {export_set.ignored!r}",)


def task_of(export_set: ExportSet, record: ImageRecord, address: str) -> dict[str, Any]:
    """A task with a prediction: an image's masks, one brush a class."""
    found = [
        {
            "id": f"{record.image_id}-{number}",
            "type": "brushlabels",
            "from_name": CONTROL,
            "to_name": IMAGE,
            "original_width": record.width,
            "original_height": record.height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": brush.encode(mask), "brushlabels": [export_set.name_of(number)]},
        }
        for number, mask in export_set.masks(record, ignored=True)
    ]
    data = {"image": address, "image_id": record.image_id}
    return {"data": data, "predictions": [{"model_version": export_set.title, "result": found}]}


def interface(classes: tuple[str, ...]) -> str:
    """The labeling interface: an image, and a brush for every class in its color."""
    named = [*enumerate(classes, start=1), (IGNORE, ignored_name(classes))]
    lines = [f'    <Label value={quoteattr(name)} background="{web_color(number)}"/>' for number, name in named]
    image = f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>'
    brushes = f'  <BrushLabels name="{CONTROL}" toName="{IMAGE}">'
    return "\n".join(["<View>", image, brushes, *lines, "  </BrushLabels>", "</View>", ""])

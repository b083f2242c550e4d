"""The same tags written in every format: those of `TAGS`, by hand after each format's description."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.tasks.drawn_files import save_image, write_annotation, write_tags

TAGS = {"a": ("cat",), "b": ("cat", "traffic-light"), "c": ("dog",)}
"""Image id -> its tags; the one of two words is written `traffic light` where the format can."""
NAMES = ("dog", "traffic light", "cat")
"""The classes in the order in which numbered formats have them."""


def words(image_id: str) -> list[str]:
    """Names of an image's classes as a format without our rule would have them."""
    return [name.replace("-", " ") for name in TAGS[image_id]]


def numbers(image_id: str) -> list[int]:
    """Numbers of an image's classes."""
    return [NAMES.index(name) for name in words(image_id)]


def csv(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_tags(folder / "labels.csv", {image_id: " ".join(names) for image_id, names in TAGS.items()})


def voc(folder: Path) -> Path:
    for image_id, names in TAGS.items():
        write_annotation(folder / "Annotations" / f"{image_id}.xml", *((name, 0) for name in names))
    return folder / "Annotations"


def coco(folder: Path) -> Path:
    box = {"bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    number = {image_id: 10 + n for n, image_id in enumerate(TAGS)}
    content = {
        "images": [{"id": number[i], "file_name": f"val2017/{i}.jpg", "width": 9, "height": 9} for i in TAGS],
        "categories": [{"id": 3 * n, "name": name, "supercategory": "thing"} for n, name in enumerate(NAMES)]
        + [{"id": 255, "name": "ignored", "supercategory": "void"}],
        "annotations": [
            {"id": 1, "image_id": number[i], "category_id": 3 * n, **box} for i in TAGS for n in numbers(i) * 2
        ]
        + [{"id": 9, "image_id": number["a"], "category_id": 255, **box}],
    }
    return _json(folder / "instances.json", content)


def panoptic(folder: Path) -> Path:
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in TAGS],
        "categories": [{"id": n, "name": name, "isthing": 1} for n, name in enumerate(NAMES)],
        "annotations": [
            {"image_id": i, "file_name": f"{i}.png", "segments_info": [{"id": 7, "category_id": n} for n in numbers(i)]}
            for i in TAGS
        ],
    }
    return _json(folder / "panoptic.json", content)


def yolo(folder: Path) -> Path:
    for image_id in TAGS:
        lines = [f"{n} 0.5 0.5 0.25 0.25\n{n} 0.1 0.1 0.9 0.1 0.9 0.9\n" for n in numbers(image_id)]
        _text(folder / "labels" / f"{image_id}.txt", "".join(lines))
    _text(folder / "labels" / "classes.txt", "\n".join(NAMES))
    return folder / "labels"


def labelme(folder: Path) -> Path:
    for image_id in TAGS:
        first, *others = words(image_id)
        shapes = [{"label": name, "points": [[0, 0], [1, 1]], "shape_type": "rectangle"} for name in others]
        content = {
            "version": "5.5.0",
            "flags": {first: True, "blurred": False},
            "shapes": shapes,
            "imagePath": "../x.jpg",
        }
        _json(folder / "labelme" / f"{image_id}.json", content)
    return folder / "labelme"


def label_studio(folder: Path) -> Path:
    tasks = []
    for n, image_id in enumerate(TAGS):
        first, *others = words(image_id)
        results = [
            {"type": "choices", "from_name": "kind", "to_name": "image", "value": {"choices": [first]}},
            {"type": "brushlabels", "value": {"format": "rle", "rle": [0, 1], "brushlabels": others}},
            {"type": "rectangle", "value": {"x": 1, "y": 1, "width": 2, "height": 2}},
        ]
        canceled = {"was_cancelled": True, "result": [{"type": "choices", "value": {"choices": ["wrong"]}}]}
        tasks.append(
            {
                "id": n,
                "data": {"image": f"/data/upload/1/0f3a2b1c-{image_id}.jpg"},
                "annotations": [{"result": results, "was_cancelled": False}, canceled],
                "predictions": [{"result": canceled["result"]}],
            }
        )
    return _json(folder / "project-1.json", tasks)


def cvat(folder: Path) -> Path:
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    images = ""
    for n, image_id in enumerate(TAGS):
        first, *others = words(image_id)
        boxes = "".join(f'<polygon label="{name}" points="1,1;2,2;1,2"/>' for name in others)
        images += (
            f'<image id="{n}" name="set/{image_id}.jpg" width="9" height="9"><tag label="{first}"/>{boxes}</image>'
        )
    text = (
        f"<annotations><version>1.1</version><meta><task><labels>{labels}</labels></task></meta>{images}</annotations>"
    )
    return _text(folder / "annotations.xml", text)


def hugging_face(folder: Path) -> Path:
    lines = [json.dumps({"file_name": f"{i}.jpg", "tags": words(i), "text": "x"}) for i in TAGS]
    return _text(folder / "metadata.jsonl", "\n".join(lines) + "\n")


def hugging_face_objects(folder: Path) -> Path:
    lines = [json.dumps({"file_name": f"{i}.jpg", "objects": {"bbox": [], "categories": words(i)}}) for i in TAGS]
    return _text(folder / "metadata.jsonl", "\n".join(lines) + "\n")


def folders(folder: Path) -> Path:
    for seed, image_id in enumerate(TAGS):
        for name in words(image_id):
            save_image(folder / "tree" / name / f"{image_id}.png", seed)
    return folder / "tree"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "csv": csv,
    "voc": voc,
    "coco": coco,
    "panoptic": panoptic,
    "yolo": yolo,
    "labelme": labelme,
    "label_studio": label_studio,
    "cvat": cvat,
    "hugging_face": hugging_face,
    "hugging_face_objects": hugging_face_objects,
    "folders": folders,
}


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _json(path: Path, content: object) -> Path:
    return _text(path, json.dumps(content))

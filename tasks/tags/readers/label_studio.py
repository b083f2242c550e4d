"""Tags from Label Studio's JSON export: choices, and the labels of regions of every kind."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.label_maps import ignored_among
from tag2mask.tasks.tags.readers.source import Gathered, TagList, entries, member, read_json

UPLOADED = re.compile(r"[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded to it."""


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Tags of the tasks: what their annotations name, those that were canceled and predictions left out.

    Raises:
        BadTable: not Label Studio's JSON, a task without an image; with the place, e.g. `task 3`.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise BadTable(f"{path}: holds no list of tasks; export from Label Studio as JSON")
    gathered, named = Gathered(), list[tuple[str, str, str, object]]()
    for number, task in enumerate(tasks):
        where = f"{path}: task {number}"
        image_id = gathered.image(file_name(task_image(task, where), where), where)
        for annotation_place, annotation in entries(task, "annotations", where):
            if isinstance(annotation, dict) and annotation.get("was_cancelled"):
                continue
            for place, result in entries(annotation, "result", annotation_place):
                named += [(image_id, place, result["type"], name) for name in _classes(result, place)]
    ignored = ignored_among({name for *_, name in named if isinstance(name, str)})
    for image_id, place, kind, name in named:
        if name != ignored or kind != "brushlabels":
            gathered.tag(image_id, name, place)
    notes = [f"brushes labeled {ignored!r} are no tag"] if ignored else []
    return gathered.finish(
        "regions are not read: their labels, and choices, are an image's tags; predictions are none", *notes
    )


def task_image(task: object, where: str) -> str:
    """The address of a task's image.

    Raises:
        BadTable: it has none, or its format is JSON-MIN, which does not say what is a class.
    """
    if isinstance(task, dict) and "data" not in task and "annotation_id" in task:
        raise BadTable(f"{where}: is JSON-MIN, which does not tell classes from other answers; export as JSON")
    data = member(task, "data", dict, where)
    if isinstance(data.get("image"), str):
        return str(data["image"])
    found = [v for v in data.values() if isinstance(v, str) and v.partition("?")[0].lower().endswith(IMAGE_SUFFIXES)]
    if len(found) != 1:
        raise BadTable(f"{where}: 'data' names {len(found)} images, not one; put the image's address under 'image'")
    return found[0]


def file_name(address: str, where: str) -> str:
    """Name of the file behind an address: without what an upload puts before it, folders and query.

    Raises:
        BadTable: its path has `..` in it, or it is no address.
    """
    address = address.replace("\\", "/")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise BadTable(f"{where}: {address!r:.80} is no address ({error}); write that of the image") from error
    path = address  # of a storage (s3://bucket/a#1.jpg) `#` and `?` belong to the name
    if parts.scheme in ("http", "https") or address.startswith("/data/"):
        path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    if ".." in path.split("/"):
        raise BadTable(f"{where}: {address!r} leaves the folder of the images; write the name from that folder on")
    name = path.rpartition("/")[2]
    return UPLOADED.sub("", name, count=1) if "/data/upload/" in path and UPLOADED.match(name) else name


def _classes(result: Any, where: str) -> Iterator[object]:
    """Names that a result gives."""
    kind = member(result, "type", str, where)  # also the key of the names; of regions `brushlabels` and its like
    if kind not in ("choices", "taxonomy") and not kind.endswith("labels"):
        return  # free text, ratings, and shapes whose labels stand in a result of their own
    value = member(result, "value", dict, where)
    for name in member(value, kind, list, where) if kind in value else ():
        yield name[-1] if kind == "taxonomy" and isinstance(name, list) and name else name

"""Tags from LabelMe: the labels of the shapes in `<id>.json`, and its flags that are set."""

from collections.abc import Collection
from pathlib import Path

from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.tags.readers.source import Gathered, TagList, entries, files_in, member, read_json


def read(path: Path, names: Path | None = None, only: Collection[str] | None = None) -> TagList:
    """Labels of each file's shapes.  An image's id is the name of its JSON file; `imagePath` is not followed.

    Raises:
        BadTable: no file, one that is not LabelMe's, a shape without a label; with the place, e.g. `shapes[3]`.
    """
    gathered = Gathered()
    for file in files_in(path, ".json", only):
        content = read_json(file)
        image_id = gathered.image(f"{file.stem}.png", str(file))
        for where, shape in entries(content, "shapes", str(file)):
            gathered.tag(image_id, member(shape, "label", str, where), where)
        flags = content.get("flags") or {}
        if not isinstance(flags, dict):
            raise BadTable(f"{file}: 'flags' is {type(flags).__name__}, not an object of names and true or false")
        for name, is_set in flags.items():
            if is_set is True:
                gathered.tag(image_id, name, f"{file}: flags")
    return gathered.finish("shapes are not read: their labels, and the flags that are set, are an image's tags")

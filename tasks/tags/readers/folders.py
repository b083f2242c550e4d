"""Tags from the folders that images lie in: a folder per class, or several tags in a folder tree."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tag2mask.configs.sections.data import TagsFormat
from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import BadTable
from tag2mask.tasks.dataset.images import ImageFiles, find_images
from tag2mask.tasks.store.digests import file_digest, names_below, names_in
from tag2mask.tasks.tags.readers.source import Gathered, TagList

BETWEEN = "__"
"""Between the folders and the name in an id made of a path."""


def images_below(root: Path, by_path: bool) -> ImageFiles:
    """Image id -> file of the images in folders below a root, sorted by id; of equal files of one id the first.

    Args:
        root: the tree; hidden files and folders are left out.
        by_path: make an id of the path, `cat__1` for `cat/1.jpg`; else of the name alone, `1`.

    Raises:
        FileNotFoundError: no such folder.
        BadTable: see `_by_id`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    return ImageFiles(root, {image_id: str(paths[0]) for image_id, paths in _by_id(root, by_path).items()})


def given_images(images: Path | None, image_tree: Path | None, form: TagsFormat) -> tuple[Path, ImageFiles]:
    """The folder of the images, and image id -> file: right in a folder, or in a tree whose folders are the tags.

    Raises:
        FileNotFoundError: no such folder.
        BadTable, ValueError, BadImage: see `_by_id` and `find_images`.
    """
    if image_tree is not None:
        return image_tree, images_below(image_tree, form == "folder_paths")
    assert images is not None  # a stage is given one of the two
    return images, find_images(images)


def read(root: Path, by_path: bool) -> TagList:
    """The names of the folders on the way to an image are its tags; one that lies in several has the tags of all.

    Args:
        root: folder of the classes' folders.
        by_path: ids are paths below the folder, for images whose names are not unique.

    Raises:
        BadTable: see `_by_id`.
    """
    gathered = Gathered()
    for image_id, paths in _by_id(root, by_path).items():
        gathered.image(f"{image_id}.png", str(root / paths[0]))
        for path in paths:
            for folder in path.parts[:-1]:
                gathered.tag(image_id, folder, str(root / path))
    return gathered.finish("the names of the folders that an image lies in are its tags")


def has_tree(folder: Path) -> bool:
    """Whether a folder has images in folders below it and none right in it.

    Folders below one that has images of its own are not looked into: a link there may lead anywhere.
    """
    if names_in(folder, IMAGE_SUFFIXES):
        return False
    return any(_is_image(name) for name in names_below(folder))


def clashes(folder: Path) -> bool:
    """Whether different images of a tree share a name, so that ids must be made of paths."""
    try:
        _by_id(folder, False)
    except BadTable:
        return True
    return False


def _images(root: Path) -> Iterator[PurePosixPath]:
    return (PurePosixPath(name) for name in sorted(names_below(root)) if _is_image(name))


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _by_id(root: Path, by_path: bool) -> dict[str, list[PurePosixPath]]:
    """Image id -> its paths below a root, sorted by id.

    Raises:
        BadTable: no image, one in no folder, or different images of one id.
    """
    found: dict[str, list[PurePosixPath]] = {}
    for path in _images(root):
        if len(path.parts) == 1:
            raise BadTable(f"{root / path}: lies in no folder, so it has no tag; put it into the folder of its class")
        image_id = BETWEEN.join((*path.parts[:-1], path.stem)) if by_path else path.stem
        found.setdefault(image_id, []).append(path)
    if not found:
        raise BadTable(f"{root}: holds no images in folders; a folder per class has <class>/<name>.jpg")
    for paths in found.values():
        if len(paths) > 1 and len({file_digest(root / path) for path in paths}) > 1:
            remedy = "rename one" if by_path else "rename one, or set dataset.tags_format to folder_paths"
            raise BadTable(f"{root}: {paths[0]} and {paths[1]} are different images of one id; {remedy}")
    return dict(sorted(found.items()))

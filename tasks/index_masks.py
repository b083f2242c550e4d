"""Ground-truth masks of the indexed images.  Evaluation reads them, and no other stage does.

Writes  masks/<id>.png   the file's own bytes: palette or gray, 0 background, 1..C class, 255 void
        index.json       split -> ids that have a mask, in order
        metrics.json     counts
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tag2mask.configs.sections.section import Section
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import find_images
from tag2mask.tasks.dataset.ingest import BadDataset, copy_file, named
from tag2mask.tasks.dataset.label_maps import IGNORE, read_labels
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.journal import journaled
from tag2mask.tasks.store.runtime import StageRuntime

log = logging.getLogger("tag2mask")


def run(config: Section, out: Path, runtime: StageRuntime, *, dataset: Path, masks: Path) -> None:
    """Check and copy the masks of the images of a dataset; images without a mask are counted.

    Args:
        config: not used; the classes are those of the index.
        out: folder of the result.
        runtime: threads.
        dataset: result of `index_dataset`.
        masks: folder of `<id>.png`.

    Raises:
        BadDataset: masks cannot be read, have another size than the image, or values that are neither class nor
            void; up to ten files are named.  Or no image at all has a mask, or no mask of tagged images shows
            any class.
        FileNotFoundError: no folder of masks.
    """
    index = ImageIndex.read(dataset)
    found = find_images(masks, (".png",))
    records = [record for record in index if record.image_id in found]
    if not records:
        raise BadDataset(
            f"{masks}: holds {len(found)} .png files, none of them named after one of the {len(index)} images "
            f"(such as {named(index.ids[:1])}.png); name them so, or leave dataset.masks out"
        )
    shown = _check_and_copy(records, found, len(index.classes), out, runtime)
    agreeing = _compare_with_tags(masks, records, shown, len(index.classes))
    splits = {name: [record.image_id for record in records if record.split == name] for name in ("train", "val")}
    write_json(out / "index.json", splits)
    counts = {name: len(ids) for name, ids in splits.items()}
    without = {f"{name}_without_mask": len(index.split(name)) - count for name, count in counts.items()}
    without_image = len(found) - len(records)
    others = {"without_image": without_image, "same_classes_as_tags": agreeing}
    write_json(out / "metrics.json", {**counts, **without, **others})


def _check_and_copy(
    records: Sequence[ImageRecord], found: Mapping[str, Path], classes: int, out: Path, runtime: StageRuntime
) -> list[tuple[int, ...]]:
    """Copy all masks, or fail with all faults; returns the classes that each mask shows."""
    by_id = {record.image_id: record for record in records}
    shown: dict[str, tuple[int, ...]] = {}
    faults: list[str] = []

    def take(image_id: str) -> tuple[int, ...] | str:
        try:
            return check_mask(found[image_id], by_id[image_id], classes)
        except ValueError as error:
            return str(error)

    def process(part: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id, result in zip(part, pool.map(take, part), strict=True):
            if isinstance(result, str):
                faults.append(result)
                continue
            shown[image_id] = result
            yield image_id, [copy_file(found[image_id], out / "masks" / f"{image_id}.png")]

    with ThreadPoolExecutor(max(1, runtime.threads)) as pool:
        process_images(list(by_id), out, process, runtime, lambda image_id: {"classes": shown.pop(image_id)})
    _refuse(faults, len(records))
    shows = {part.image_id: tuple(part.facts["classes"]) for part in journaled(out)}
    # what an earlier index took was checked against its classes, of which there may have been more
    stale = [fault for image_id in by_id if (fault := _fault_of(found[image_id], shows[image_id], classes))]
    _refuse(stale, len(records))
    return [shows[record.image_id] for record in records]


def _refuse(faults: Sequence[str], count: int) -> None:
    """Name the faults of some of `count` masks, if there are any."""
    if faults:
        lines = named(faults, between="\n  ")
        raise BadDataset(f"{len(faults)} of {count} masks do not fit:\n  {lines}")


def _fault_of(path: Path, values: Iterable[int], classes: int) -> str:
    """What is wrong with the values of a mask; "" if nothing is."""
    wrong = [str(value) for value in values if classes < value < IGNORE]
    if not wrong:
        return ""
    return f"{path}: has the values {named(wrong)}; a mask holds 0, 1..{classes} and {IGNORE} (void) alone"


def _compare_with_tags(
    masks: Path, records: Sequence[ImageRecord], shown: Sequence[tuple[int, ...]], classes: int
) -> int:
    """How many masks show exactly the classes of the tags; few give a warning, and no class in any mask is refused."""
    if not any(shown) and any(record.tags for record in records):
        raise BadDataset(
            f"{masks}: none of the {len(records)} masks shows any class; a mask holds class numbers 1..{classes}, 0 = "
            f"background and {IGNORE} = void (0/255 masks show salient objects and no classes); correct the masks or "
            "leave dataset.masks out"
        )
    agreeing = sum(set(found) == set(record.tags) for found, record in zip(shown, records, strict=True))
    if agreeing < len(records) / 2:
        log.warning(
            "%s: only %d of %d masks show exactly the classes of the tags, and %d show no class at all; are the values "
            "the numbers of classes.json?",
            masks,
            agreeing,
            len(records),
            sum(not found for found in shown),
        )
    return agreeing


def check_mask(path: Path, record: ImageRecord, classes: int) -> tuple[int, ...]:
    """The classes in a mask, rising.

    Raises:
        ValueError: it is no 8-bit palette or gray image, has another size than the image, or other values than 0,
            1..C, 255.
    """
    labels = read_labels(path)
    if labels.shape != record.size:
        raise ValueError(f"{path}: is {_size(labels.shape)}, but its image {record.file} is {_size(record.size)}")
    values = np.unique(labels)
    if fault := _fault_of(path, values, classes):
        raise ValueError(fault)
    return tuple(int(value) for value in values if 0 < value < IGNORE)


def _size(shape: Iterable[int]) -> str:
    """`width x height`, as image programs say it."""
    height, width = shape
    return f"{width}x{height}"

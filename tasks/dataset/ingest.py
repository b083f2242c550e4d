"""Taking images in: checked, brought upright, copied and written down, one by one, so that a crash repeats little.

Each image leaves a small record in the journal; tables are made from the records alone, so that an interrupted run ends
with the same bytes as an undisturbed one, and so does one that takes over what an older result holds of an image.
"""

import logging
import shutil
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.images import BadImage, ImageFiles, read_image
from tag2mask.tasks.dataset.tables import write_table, write_text_pairs
from tag2mask.tasks.executors.images import shard_results
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.digests import file_digest, json_digest
from tag2mask.tasks.store.files import write_file, write_json
from tag2mask.tasks.store.journal import journal_images, journaled_by_id
from tag2mask.tasks.store.parts import PASSING
from tag2mask.tasks.store.runtime import StageRuntime

log = logging.getLogger("tag2mask")
SEPARATOR = "\0"
"""Between an image's id and its file, below the images' folder, in what is handed to a worker."""
MOST_NAMED = 10
"""A message names this many faults and counts the others."""


class EndsReaders(BadImage):
    """An image ended every process that read it."""


class BadDataset(UserError, ValueError):
    """The files of a dataset do not fit together; the message names up to ten of each kind and the remedy."""


@dataclass(frozen=True, slots=True)
class IngestedImage:
    """What became of one image."""

    image_id: str
    source: str
    """Name of the file it came from."""
    file: str = ""
    """Its copy, relative to the stage's folder; empty where it was set aside."""
    width: int = 0
    """In pixels, upright."""
    height: int = 0
    """In pixels, upright."""
    converted: str = ""
    """What was converted, see `DecodedImage`."""
    digest: str = ""
    """Of the bytes of all its files."""
    reason: str = ""
    """Why it was set aside."""
    passing: bool = False
    """Whether that may have been the machine's fault, so that it is looked at anew by every later index."""

    def facts(self) -> dict[str, Any]:
        """For the journal: what is said of most images, that nothing passes, is left out."""
        return {name: value for name, value in asdict(self).items() if value or name != PASSING}


class IngestedImages:
    """What became of each image, by id; read anew from the journal whenever it is asked for: there may be millions."""

    def __init__(self, out: Path) -> None:
        """Those of a stage's folder; its journal must not change any more."""
        self._out = out
        self.count = 0
        """Images in all."""
        self.converted = 0
        """Of these, those whose pixels were converted."""
        self.aside: list[IngestedImage] = []
        """Those that were set aside."""
        self.examples: list[str] = []
        """The first of the converted ones, and what was done to them."""
        for record in self:
            self.count += 1
            self.converted += bool(record.converted)
            if record.reason:
                self.aside.append(record)
            elif record.converted and len(self.examples) < MOST_NAMED:
                self.examples.append(f"{record.source} ({record.converted})")

    def __iter__(self) -> Iterator[IngestedImage]:
        return (IngestedImage(**part.facts) for part in journaled_by_id(self._out))

    def kept(self) -> Iterator[IngestedImage]:
        """Those that could be read."""
        return (record for record in self if not record.reason)


def named(names: Sequence[str], count: int | None = None, *, between: str = ", ") -> str:
    """The first ten names, and how many more there are.

    Args:
        names: the names, or the first ten of them.
        count: how many there are in all; without it as many as were given.
        between: what stands between them.
    """
    rest = (len(names) if count is None else count) - MOST_NAMED
    return between.join(names[:MOST_NAMED]) + (f"{between}and {rest} more" if rest > 0 else "")


def look_alikes(folder: Path, image_ids: Collection[str], known: Collection[Path]) -> str:
    """A hint at ids with a suffix, or at files of missing ids that are not read, e.g. `a.heic`; or nothing."""
    suffixed = sorted(image_id for image_id in image_ids if folder / image_id in set(known))
    if suffixed:
        return f" (ids are names without suffix: {Path(suffixed[0]).stem}, not {suffixed[0]})"
    other = sorted(path.name for path in folder.iterdir() if path.stem in set(image_ids) and path not in set(known))
    return f" ({named(other)}: this kind of file is not read)" if other else ""


def take_image(
    image_id: str, source: Path, out: Path, *, maximum_megapixels: float
) -> tuple[IngestedImage, list[Path]]:
    """Check an image and write `images/<id>.<suffix>`: its own bytes if upright 8-bit RGB, else its pixels as PNG.

    Returns:
        What became of it, and the file written.

    Raises:
        BadImage: it cannot be read.
    """
    image = read_image(source, maximum_megapixels=maximum_megapixels)
    target = out / "images" / (image_id + (".png" if image.converted else source.suffix.lower()))
    if image.converted:
        write_file(target, lambda file: Image.fromarray(image.pixels).save(file, format="PNG"))
    else:
        copy_file(source, target)
    height, width = image.pixels.shape[:2]
    file = target.relative_to(out).as_posix()
    record = IngestedImage(image_id, source.name, file, width, height, image.converted, file_digest(target))
    return record, [target]


def copy_file(source: Path, target: Path) -> Path:
    """Copy a file's bytes, atomically; returns the copy."""
    with source.open("rb") as original:
        write_file(target, lambda file: shutil.copyfileobj(original, file))
    return target


Take = Callable[[str, Path, Path], tuple[IngestedImage, list[Path]]]


def open_work(device: str, *, take: Take, folder: Path, out: Path) -> Process:
    """What a worker does with items of `_item`; errors that are reported all at once are results."""

    def attempt(item: str) -> tuple[IngestedImage, list[Path]] | BadImage | BadDataset:
        image_id, _, name = item.partition(SEPARATOR)
        try:
            return take(image_id, folder / name, out)
        except (BadImage, BadDataset) as error:
            return error

    return one_by_one(attempt)


def ingest_all(
    sources: ImageFiles,
    take: Take,
    out: Path,
    runtime: StageRuntime,
    *,
    skip: bool,
) -> IngestedImages:
    """Take in all images, several at once, leaving out what an interrupted run has done.

    Args:
        sources: image id -> its image.
        take: takes an id, its image and the stage's folder, takes the image in, and returns what became of it and the
            files written; a module's function or a partial of one.
        out: the stage's folder.
        runtime: executor and workers (decoding releases Python's lock).
        skip: set bad images aside instead of ending with an error.

    Returns:
        What became of each image, by id.

    Raises:
        BadImage: images cannot be read and are not to be skipped.
        BadDataset: `take` found images that do not fit their masks.
    """
    faults: dict[str, BadImage | BadDataset] = {}
    taken: dict[str, IngestedImage] = {}
    image_ids, folder = sorted(sources), sources.folder

    def make(pending: list[str]) -> Generator[tuple[str, list[Path]], None, None]:
        items = [f"{image_id}{SEPARATOR}{sources.name(image_id)}" for image_id in pending]
        work = partial(open_work, take=take, folder=folder, out=out)
        found = shard_results(items, out=out, open_work=work, runtime=runtime, set_aside=partial(_lethal, folder))
        for item, result in found:
            image_id = item.partition(SEPARATOR)[0]
            if isinstance(result, BadImage) and skip:
                passing = isinstance(result, EndsReaders)
                result = IngestedImage(image_id, result.where.name, reason=result.reason, passing=passing), []
            if isinstance(result, BadImage | BadDataset):
                faults[image_id] = result  # not journaled: looked at again by the next attempt
                continue
            taken[image_id], paths = result
            yield image_id, paths

    journal_images(image_ids, out, make, runtime, lambda image_id: taken.pop(image_id).facts())
    _raise_faults([faults[image_id] for image_id in sorted(faults)], folder, len(image_ids))
    records = IngestedImages(out)
    _log_records(records)
    return records


def _lethal(folder: Path, item: str) -> EndsReaders:
    """That an image ends whoever reads it."""
    where = folder / item.partition(SEPARATOR)[2]
    return EndsReaders(where, "ends every process that reads it: it may need more memory than there is")


def _raise_faults(faults: Sequence[ValueError], folder: Path, total: int) -> None:
    """End with one error for all faults."""
    unfit = [str(fault) for fault in faults if isinstance(fault, BadDataset)]
    bad = [fault for fault in faults if isinstance(fault, BadImage)]
    if unfit:
        lines = named(unfit, between="\n  ")
        raise BadDataset(f"{folder}: {len(unfit)} of {total} images and masks do not fit:\n  {lines}")
    if bad:
        lines = named([str(fault) for fault in bad], between="\n  ")
        raise BadImage(folder, f"{len(bad)} of {total} images are bad; on_bad_image: skip leaves them out:\n  {lines}")


def _log_records(records: IngestedImages) -> None:
    """Log what was converted and what was set aside."""
    if count := records.converted:
        log.info("%d images are read as upright 8-bit RGB: %s", count, named(records.examples, count))
    aside = [f"{record.source} {record.reason}" for record in records.aside]
    if aside:
        log.warning("%d images are set aside: %s", len(aside), named(aside, between="; "))


def write_index(
    out: Path,
    records: IngestedImages,
    splits: Mapping[str, str],
    tags: Mapping[str, Sequence[str]],
    classes: Sequence[str],
) -> None:
    """Write `index.csv`, `classes.json`, and `items.json`, which lets later stages reuse what they made of an image.

    Args:
        out: folder to write to.
        records: the images; those that could be read are written.
        splits: id -> its split.
        tags: id -> names of its classes; an id that is not there has none.
        classes: names of the classes 1..C.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}

    def labels(record: IngestedImage) -> list[int]:
        return sorted(numbers[name] for name in tags.get(record.image_id, ()))

    def row(record: IngestedImage) -> tuple[Any, ...]:
        names = " ".join(classes[number - 1] for number in labels(record))
        where = (record.image_id, record.file, splits[record.image_id], record.width, record.height)
        return (*where, names, record.source, record.converted)

    def item(record: IngestedImage) -> tuple[str, str]:
        return record.image_id, json_digest([record.digest, labels(record), record.width, record.height])

    columns = ("image_id", "file", "split", "width", "height", "labels", "source", "converted")
    write_table(out / "index.csv", map(row, records.kept()), columns)
    write_text_pairs(out / "items.json", map(item, records.kept()))
    write_json(out / "classes.json", list(classes))


def write_set_aside(out: Path, records: Iterable[IngestedImage]) -> None:
    """Write `set_aside.csv` (source, reason) of the images that were, with its header alone where there are none."""
    write_table(out / "set_aside.csv", ((record.source, record.reason) for record in records), ("source", "reason"))

"""Masks of many images in a folder, made batch by batch, and gone on with where an earlier attempt was killed.

    masks/<id>.png            palette PNG: 0 background, 1..C class
    overlays/<id>.jpg         on request: the image under the colors of its classes
    probabilities/<id>.npz    on request: see `tasks.dataset.arrays`
    predictions.csv           classes, shares and confidence of every mask in the folder
    set_aside.csv             images that could not be read, and why
    classes.csv               number, name and color of each label value
    prediction.json           the model and the settings; a folder holds what one model says with one set of settings
    .resume/                  the journal: which images are done

Images are decoded and masks are written by a pool while the network computes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tag2mask.tasks.dataset.arrays import write_scores
from tag2mask.tasks.dataset.images import BadImage
from tag2mask.tasks.dataset.label_maps import class_table, write_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.networks.tensors import batches
from tag2mask.tasks.prediction.image_files import ReadAhead
from tag2mask.tasks.prediction.overlay import overlay
from tag2mask.tasks.prediction.request import OtherRequest, open_folder
from tag2mask.tasks.prediction.trained_segmenter import Prediction, TrainedSegmenter, read_pixels
from tag2mask.tasks.store.digests import Signature
from tag2mask.tasks.store.files import parts_below, write_file
from tag2mask.tasks.store.journal import RESUME, finished_items, journaled
from tag2mask.tasks.store.locks import hold, read_only_as_error
from tag2mask.tasks.store.parts import Part
from tag2mask.tasks.store.runtime import StageRuntime

LOCK = f"{RESUME}/lock"
"""Of a folder of predictions, to which one command writes at a time."""
MOST_PIXELS = 4_000_000
"""Pixels of a batch, however many images the settings allow: a few large images would fill the memory."""


@dataclass(frozen=True)
class Extras:
    """What is written beside the masks."""

    overlays: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class Predicted:
    """What became of the images."""

    masks: int
    """Masks that stand in the folder."""
    set_aside: dict[str, str]
    """File -> why it could not be predicted."""


@dataclass(frozen=True)
class _Decoded:
    """An image as the network needs it."""

    scales: list[np.ndarray]
    size: tuple[int, int]
    pixels: np.ndarray | None
    """The image itself, where something is done with it afterwards."""
    signature: list[int]
    """Of its file, before it was read."""


def predict_folder(
    segmenter: TrainedSegmenter,
    images: Mapping[str, Path],
    out: Path,
    request: Mapping[str, Any],
    extras: Extras,
    runtime: StageRuntime,
) -> Predicted:
    """Predict all images that are not done yet.

    Args:
        segmenter: the network.
        images: image id -> its file.
        out: folder to make, or to go on with.
        request: the model and the settings, JSON values; kept, and compared with what an earlier attempt kept.
        extras: what to write beside the masks.
        runtime: `workers` decode and write at once; `report` gets (images done, in all).

    Raises:
        OtherRequest: the folder was made with another model or other settings, or an id stands for another file there.
        FolderInTheWay: the folder holds something else.
        NoRoomOnDisk: the disk is full; finished masks stay.
        StoreNotWritable: nothing can be written to the folder.
    """
    with read_only_as_error(out, "folder of predictions", "--out"):
        open_folder(out, request)
        (out / RESUME).mkdir(exist_ok=True)
        (out / LOCK).touch()
    with _alone(out):
        _forget_changed(out, images)
        with ThreadPoolExecutor(max(1, runtime.workers)) as pool:
            work = _Work(segmenter, images, out, extras, runtime, pool)
            process_images(list(images), out, work.process, runtime, work.facts_of)
        _write_tables(out, segmenter.classes, work.set_aside)
    return Predicted(len(finished_items(out)), work.set_aside)


def _write_tables(out: Path, classes: tuple[str, ...], set_aside: Mapping[str, str]) -> None:
    rows = [part.facts for part in sorted(journaled(out), key=lambda part: part.image_id)]
    columns = ("image_id", "file", "width", "height", "classes", "shares", "confidence")
    write_table(out / "predictions.csv", [[row[column] for column in columns] for row in rows], columns)
    write_table(out / "set_aside.csv", sorted(set_aside.items()), ("file", "reason"))
    table = class_table(classes)
    write_table(out / "classes.csv", table)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second command away, and remove what a killed one had begun to write.

    Raises:
        OtherRequest: another one is at work there.
    """
    try:
        with hold(out / LOCK, wait=False):
            for begun in parts_below(out):
                begun.unlink(missing_ok=True)
            yield
    except BlockingIOError as error:
        raise OtherRequest(f"{out}: another command is predicting to it; wait for it, or name another --out") from error


def _forget_changed(out: Path, images: Mapping[str, Path]) -> None:
    """Delete the masks of images that have changed since, which lets the journal have them made anew.

    Raises:
        OtherRequest: an id stands for another file in this folder.
    """
    doomed: list[Part] = []
    for part in journaled(out):
        path = images.get(part.image_id)
        if path is None:
            continue
        if part.facts["source"] != str(path.absolute()):
            raise OtherRequest(
                f"{out / 'masks' / part.image_id}.png is the mask of {part.facts['source']}, not of {path}: "
                "name another --out"
            )
        if part.facts["signature"] != _signature(path):
            doomed.append(part)
    for name in (name for part in doomed for name in part.files):
        (out / name).unlink(missing_ok=True)


class _Work:
    """The images of one call, on their way through decoding, network and writing."""

    def __init__(
        self,
        segmenter: TrainedSegmenter,
        images: Mapping[str, Path],
        out: Path,
        extras: Extras,
        runtime: StageRuntime,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.segmenter, self.images, self.out, self.extras = segmenter, images, out, extras
        self.runtime, self.pool = runtime, pool
        self.ahead: ReadAhead[_Decoded | BadImage] | None = None
        self.facts: dict[str, dict[str, Any]] = {}
        self.set_aside: dict[str, str] = {}

    def process(self, image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        """Predict the images of a shard; those that cannot be read are set aside and not yielded."""
        if self.ahead is None:  # what is done was struck from the journal where it is damaged
            done = set(finished_items(self.out))
            left = {image_id: path for image_id, path in self.images.items() if image_id not in done}
            self.ahead = ReadAhead(left, self._decode, self.pool, self.runtime.shard)
        groups: dict[tuple[tuple[int, ...], ...], dict[str, _Decoded]] = defaultdict(dict)
        for image_id, decoded in zip(image_ids, self.ahead.take(image_ids), strict=True):
            if isinstance(decoded, BadImage):
                self.set_aside[str(self.images[image_id])] = decoded.reason
            else:
                groups[tuple(pixels.shape for pixels in decoded.scales)][image_id] = decoded
        writing: list[Future[tuple[str, list[Path]]]] = []
        for shapes, same in groups.items():  # a batch holds images of one size
            for part in batches(list(same), self._batch_size(shapes)):
                begun = self._predict({image_id: same.pop(image_id) for image_id in part})
                yield from (future.result() for future in writing)  # of the batch before, while this one computes
                writing = begun
        yield from (future.result() for future in writing)

    def facts_of(self, image_id: str) -> dict[str, Any]:
        """What the tables say of an image."""
        return self.facts.pop(image_id)

    def _decode(self, path: Path) -> "_Decoded | BadImage":
        try:
            signature, pixels = _signature(path), read_pixels(path)
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage(path, f"cannot be opened ({error.strerror})")
        kept = pixels if self.segmenter.refinement is not None or self.extras.overlays else None
        scales = self.segmenter.at_scales(pixels)
        return _Decoded(scales, (pixels.shape[0], pixels.shape[1]), kept, signature)

    def _batch_size(self, shapes: tuple[tuple[int, ...], ...]) -> int:
        largest = max(height * width for height, width, _ in shapes)
        return min(self.segmenter.prediction.batch_size, max(1, MOST_PIXELS // largest))

    def _predict(self, part: Mapping[str, _Decoded]) -> list[Future[tuple[str, list[Path]]]]:
        """Apply the network to images of one size; what is written of them is under way."""
        scores = self.segmenter.scores([decoded.scales for decoded in part.values()])
        return [
            self.pool.submit(self._write, image_id, decoded, score)
            for (image_id, decoded), score in zip(part.items(), scores, strict=True)
        ]

    def _write(self, image_id: str, decoded: _Decoded, scores: Any) -> tuple[str, list[Path]]:
        """Write the files of one image."""
        found = self.segmenter.finished(decoded.size, scores, decoded.pixels)
        paths = [write_labels(self.out / "masks" / f"{image_id}.png", found.labels)]
        if self.extras.overlays and decoded.pixels is not None:
            picture = Image.fromarray(overlay(decoded.pixels, found.labels))
            paths.append(self.out / "overlays" / f"{image_id}.jpg")
            write_file(paths[-1], lambda file: picture.save(file, format="JPEG", quality=90))
        if self.extras.probabilities:
            path = self.out / "probabilities" / f"{image_id}.npz"
            paths.append(write_scores(path, found.scores, found.numbers))
        self.facts[image_id] = _facts(image_id, self.images[image_id], found, decoded.signature)
        return image_id, paths


def _signature(path: Path) -> list[int]:
    """What a later change of a file shows in: its size and the time of its last change."""
    signature = Signature.of(path)
    return [signature.size, signature.modified]


def _facts(image_id: str, path: Path, found: Prediction, signature: list[int]) -> dict[str, Any]:
    """What the journal keeps of an image: its row of the table, and how its file is known again."""
    height, width = found.labels.shape
    return {
        "image_id": image_id,
        "file": str(path),
        "width": width,
        "height": height,
        "classes": " ".join(found.shares),
        "shares": " ".join(f"{share:.4f}" for share in found.shares.values()),
        "confidence": f"{found.confidence:.4f}",
        "source": str(path.absolute()),
        "signature": signature,
    }

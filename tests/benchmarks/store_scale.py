"""What the store costs as a dataset grows: every operation in a process of its own, by its time and its memory.

The images are tiny, and the stage that reads them writes a small file for each: what is left is the store's own work.
"""

import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from tag2mask.configs.schema import Dataset
from tag2mask.tasks.building.build import Order, build, input_digest
from tag2mask.tasks.building.maintenance import collect_garbage, verify
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store.artifact import Artifact, Recipe
from tag2mask.tasks.store.files import write_file
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.benchmarks.cached_run import RUNTIME, finish, found_again, memory_without_images, write_settings

CLASSES = ("ant", "bee", "cow", "dog")
SIZE = (72, 96)
"""(height, width) of an image in pixels."""
ADDED = 100
"""One image is added for so many."""


@dataclass(frozen=True)
class Cost:
    """What an operation took."""

    seconds: float
    """By the clock."""
    processor: float
    """Seconds of the processor, in the program and in the system for it."""
    memory: float
    """Most MiB above what the process had when it began."""


def draw(folder: Path, numbers: range) -> None:
    """Draw images of a few large squares, and write the table of their tags; images that are there stay."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / "images" / f"{number:07}.jpg"
        if not path.exists():
            squares = np.random.default_rng(number).integers(0, 256, (SIZE[0] // 12, SIZE[1] // 12, 3), np.uint8)
            Image.fromarray(squares.repeat(12, 0).repeat(12, 1)).save(path)
    tags = (f"{number:07},{CLASSES[number % len(CLASSES)]}\n" for number in range(numbers.stop))
    (folder / "labels.csv").write_text("image_id,labels\n" + "".join(tags))


def _small_maps(config: Dataset, out: Path, runtime: StageRuntime, *, dataset: Path) -> None:
    """Write half a kilobyte for each image."""

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            path = out / f"{image_id}.bin"
            content = image_id.encode() * 64
            write_file(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
            yield image_id, [path]

    process_images(list(ImageIndex.read(dataset).ids), out, process, runtime)


def _build(root: Path, stage: str, config: Dataset, inputs: Mapping[str, Path]) -> Artifact:
    store = Store(root)
    digests = {name: input_digest(store, stage, name, path) for name, path in inputs.items()}
    return build(Order(store.root, Recipe(stage, 1, {}, digests), config, inputs), RUNTIME)


def _index(root: Path, data: Path) -> None:
    _build(root, "index_dataset", Dataset(root=data), {"images": data / "images", "tags": data / "labels.csv"})


def _infer(root: Path, data: Path) -> None:
    module = ModuleType("tag2mask.tasks.small_maps")
    module.run = _small_maps  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    dataset = Store(root).artifacts("index_dataset")[-1].path
    _build(root, "small_maps", Dataset(root=data), {"dataset": dataset})


def _find(root: Path, data: Path) -> None:
    store = Store(root)
    for artifact in store.artifacts():
        assert store.find(artifact.stage, artifact.key) is not None


def _hash(root: Path, data: Path) -> None:
    assert input_digest(Store(root).create(), "index_dataset", "images", data / "images")


def _list(root: Path, data: Path) -> None:
    assert Store(root).artifacts()


def _verify(root: Path, data: Path) -> None:
    assert verify(Store(root)) == []


def _collect(root: Path, data: Path) -> None:
    assert collect_garbage(Store(root), keep=set, dry_run=False)


OPERATIONS: dict[str, Callable[[Path, Path], None]] = {
    "hashing the images": _hash,
    "the same, remembered": _hash,
    "index_dataset from nothing": _index,
    "an inference stage from nothing": _infer,
    "both, found again": _find,
    "listing": _list,
    "verifying every byte": _verify,
    "index_dataset with 1 % added": _index,
    "an inference stage with 1 % added": _infer,
    "collecting all four": _collect,
}
"""What is measured, in order."""
CACHED_RUN = "a run of 13 stages, all found"


def measure(folder: Path, images: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """Measure all operations for a number of images.

    Args:
        folder: for the images and the store; the store is removed at the end.
        images: how many, before a hundredth is added.
        say: is reported every figure when it comes.
    """
    data, root, found = folder / "data", folder / "store", {}
    draw(data, range(images))
    for name, operation in OPERATIONS.items():
        if name.startswith("index_dataset with"):
            draw(data, range(images + images // ADDED))
        found[name] = in_own_process(operation, root, data)
        say(f"{images} images, {name}: {found[name]}")
    shutil.rmtree(root)
    found[CACHED_RUN] = _cached_run(folder / "runs", data)
    say(f"{images} images, {CACHED_RUN}: {found[CACHED_RUN]}")
    shutil.rmtree(folder / "runs")
    return found


def _cached_run(root: Path, data: Path) -> Cost:
    """The whole process, Python's start included; its memory above what it has without an image."""
    settings = write_settings(data, root.parent)
    in_own_process(finish, settings, root)
    seconds, processor, memory = found_again(settings, root)
    return Cost(seconds, processor, memory - memory_without_images())


def in_own_process(operation: Callable[[Path, Path], None], *paths: Path) -> Cost:
    """What an operation costs in a fresh process, once all that it imports is there."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(operation, sender, *paths))
    process.start()
    sender.close()
    cost: Cost = receiver.recv()
    process.join()
    return cost


def _measured(operation: Callable[[Path, Path], None], sender: Connection, *paths: Path) -> None:
    import pandas  # noqa: F401  so that it is not counted, as the processes of a run have it from the start

    import tag2mask.tasks.index_dataset  # noqa: F401  likewise

    Path("/proc/self/clear_refs").write_text("5")  # forget the most memory that there was
    before, started, processor = _memory("VmRSS"), time.perf_counter(), time.process_time()
    operation(*paths)
    sender.send(Cost(time.perf_counter() - started, time.process_time() - processor, _memory("VmHWM") - before))


def _memory(name: str) -> float:
    """A figure of this process's memory (Linux), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 2**10


def table(found: Mapping[int, Mapping[str, Cost]]) -> str:
    """A Markdown table: milliseconds an image by the clock (and of the processor) and MiB, by number of images."""
    heads = [f"{images:,} images" for images in found]
    lines = [f"| ms an image (of the processor), MiB | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name in (*OPERATIONS, CACHED_RUN):
        cells = [_cell(costs[name], images) for images, costs in found.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(cost: Cost, images: int) -> str:
    each, processor = (1000 * seconds / images for seconds in (cost.seconds, cost.processor))
    return f"{each:.3f} ({processor:.3f}), {cost.memory:.0f}"

"""A finished run over many images, by stand-ins for its stages: what a run that finds everything costs.

The settings are the demo's with the prior as saliency and without masks: seven stages that hold something for each
image, three trainings, three reports.  The images are indexed indeed; of every other stage a stand-in writes as many
files an image as the stage would, and half a kilobyte into each.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tag2mask.configs.document import commented_yaml
from tag2mask.configs.load import load_config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.resolve import resolve
from tag2mask.flows.init import packaged
from tag2mask.tasks.building.build import build
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.files import write_file
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store

CHANGES = ("saliency.provider=prior", *(f"dataset.{name}=null" for name in ("masks", "train_split", "val_split")))
"""Of the demo's settings."""
FILES = {"predict_prior": ("saliency/{}.png", "background/{}.png"), "predict_masks": ("scores/{}.npz", "labels/{}.png")}
"""Stage -> what it writes for an image, where that is more than one file."""
RUNTIME = StageRuntime(threads=2, journal_seconds=1.0)
"""As a stage of a run has it."""


def write_settings(data: Path, folder: Path) -> Path:
    """Settings of a run over a folder of images and tags; their file."""
    path = folder / "many.yaml"
    config = load_config(packaged("demo.yaml"), [*CHANGES, f"dataset.root={data}", "name=many"])
    path.write_text(commented_yaml(config, folder), encoding="utf-8")
    return path


def finish(settings: Path, root: Path) -> None:
    """Build all that a run would make, and let it find that, so that it is recorded."""
    store, known = Store(root).create(), dict[str, Artifact]()
    for node in build_dag(load_config(settings)):
        if node.stage != "index_dataset":
            _stand_in(node.stage)
        known[node.name] = build(resolve(node, known, store).order(store), RUNTIME)
    found_again(settings, root)


def _stand_in(stage: str) -> None:
    """Put a stand-in where a stage is looked for."""
    module = ModuleType(f"tag2mask.tasks.{stage}")
    per_image = CATALOG[stage].picture is not None
    names = FILES.get(stage, ("{}.png",)) if per_image else ()
    module.run = lambda config, out, runtime, **given: _write(out, runtime, names, given.get("dataset"))  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def _write(out: Path, runtime: StageRuntime, names: tuple[str, ...], dataset: Path | None) -> None:
    """Write the files of each image, or one of no image."""

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            paths = [out / name.format(image_id) for name in names]
            for number, path in enumerate(paths):
                _put(path, f"{out.parent.name} {number} {image_id} ".encode() * 16)
            yield image_id, paths

    if names:
        assert dataset is not None
        process_images(ImageIndex.read(dataset).ids, out, process, runtime)
    else:
        _put(out / "result.bin", out.name.encode())


def _put(path: Path, content: bytes) -> None:
    write_file(path, lambda file: file.write(content))


def found_again(settings: Path, root: Path) -> tuple[float, float, float]:
    """What `tag2mask run` costs that finds everything, from the start of Python to its end.

    Returns:
        Seconds by the clock, seconds of the processor, most MiB.
    """
    said, *cost = _run("run", str(settings), "--root", str(root), "--engine", "local")
    assert "stages are up to date" in said, said
    return cost[0], cost[1], cost[2]


def memory_without_images() -> float:
    """Most MiB of a command that reads settings and has nothing to look at."""
    return _run("run", "--help")[3]


def _run(*arguments: str) -> tuple[str, float, float, float]:
    """What a command of ours prints; its seconds by the clock and of the processor; its most MiB."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return said, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10

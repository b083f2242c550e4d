"""Images a second of every stage that goes image by image: in the run's own process, and by one and two Dask workers.

Drawn images of PASCAL VOC's 500 x 375 pixels, the networks and sizes of `configs/voc-mini.yaml`, trainings of a few
steps.  Each way runs on few and on many images, and the difference is what counts: starting a process, loading torch
and the network, and connecting to workers are left out, as they are for a million images.  Everything has one thread.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, LocalCluster

from tag2mask.configs.document import commented_yaml
from tag2mask.configs.load import load_config
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.demo.scenes import write_demo

SIDE = 433
"""Mean side of a drawn image in pixels: as many pixels as 500 x 375."""
KEPT_ASIDE = 4
WAYS = ("here", "one worker", "two workers")
SHORT = (
    "classifier.epochs=2",
    "classifier.feature_copies=1",
    "classifier.drop_epochs=[]",
    "attention.epochs=2",
    "attention.feature_copies=1",
    "attention.drop_epochs=[]",
    "saliency.iterations=2",
    "segmenter.iterations=2",
    "segmenter.backbone_factor=0",
    "cosaliency.iterations=2",
    "evaluation.maximum_equal=1",
    "dataset.minimum_images=1",
)
"""Changes that make trainings short: what networks have learned does not matter here."""
USUAL = ("name=usual",)
OTHER = (
    "name=other",
    "initial_labels=mining",
    "next_labels=masking",
    "saliency.targets=prior",
    "saliency_set=null",
    "cosaliency.provider=icnet",
    "cosaliency.group_size=2",
    "cosaliency.targets={salient: 0, cam: 0, unsalient: 0, no_cam: 0}",
)
"""Changes that bring in the stages which the usual settings have not."""


@dataclass(frozen=True)
class Made:
    """What the results of a stage hold, and how long they took."""

    images: int
    seconds: float
    bytes: int
    files: int

    def __add__(self, other: "Made") -> "Made":
        return self - Made(-other.images, -other.seconds, -other.bytes, -other.files)

    def __sub__(self, other: "Made") -> "Made":
        return Made(
            self.images - other.images,
            self.seconds - other.seconds,
            self.bytes - other.bytes,
            self.files - other.files,
        )


Found = dict[str, dict[str, Made]]
"""Stage -> way -> what many images took more than few."""


def made_by(root: Path, training: int) -> dict[str, Made]:
    """Stage -> sums over its results in a store of so many training images."""
    found: dict[str, Made] = {}
    for path in sorted(root.glob("*/*/manifest.json")):
        stage, manifest = path.parts[-3], json.loads(path.read_text())
        if CATALOG[stage].spread:
            # what measures has files of no image, so that its manifest does not count any
            looked_at = training if manifest["recipe"]["config"].get("split", "train") == "train" else KEPT_ASIDE
            images, before = manifest.get("images") or looked_at, found.get(stage, Made(0, 0.0, 0, 0))
            found[stage] = before + Made(images, manifest["seconds"], manifest["bytes"], manifest["files"])
    return found


def write_settings(folder: Path, images: int, settings: Path) -> None:
    """Draw images, and write `usual.yaml` and `other.yaml` beside them."""
    write_demo(folder / "data", scenes=images + KEPT_ASIDE, validation=KEPT_ASIDE, saliency=images, size=SIDE)
    names = {
        "images": "images",
        "tags": "labels.csv",
        "train_split": "train.txt",
        "val_split": "val.txt",
        "masks": "masks",
    }
    data = [f"dataset.root={folder / 'data'}", *(f"dataset.{key}={value}" for key, value in names.items())]
    data.append(f"saliency_set.root={folder / 'data' / 'saliency'}")
    for changes in (USUAL, OTHER):
        config = load_config(settings, [*data, *SHORT, *changes])
        (folder / f"{config.name}.yaml").write_text(commented_yaml(config, folder), encoding="utf-8")


def run(folder: Path, root: str, *more: str) -> None:
    """Both settings of a folder, one after the other.

    Raises:
        CalledProcessError: a run failed.
    """
    for name in ("usual", "other"):
        command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", f"{name}.yaml", "--root", root, *more]
        command += ["--precision", "float32", "--engine", "local", "--cores", "1"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def workers(count: int) -> Iterator[str]:
    """Address of a cluster of worker processes with one thread each, which have loaded what networks need."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster:
        with Client(cluster) as client:
            for module in ("timm", "tag2mask.tasks.networks.factory"):
                client.run(importlib.import_module, module)
        yield cluster.scheduler_address


def measure(folder: Path, counts: tuple[int, int], settings: Path) -> Found:
    """What every stage takes for the images between two numbers of images, each way."""
    found: dict[int, dict[str, dict[str, Made]]] = {}
    for count in counts:
        place = folder / str(count)
        write_settings(place, count, settings)
        run(place, "here", "--executor", "here")
        found[count] = {WAYS[0]: made_by(place / "here", count)}
    for number, way in enumerate(WAYS[1:], start=1):
        for count in counts:  # workers of its own, so that each count pays alike for what they load
            with workers(number) as address:
                found[count][way] = _made_anew(folder, count, way.replace(" ", "_"), address)
    few, many = (found[count] for count in sorted(counts))
    return {stage: {way: many[way][stage] - few[way][stage] for way in WAYS} for stage in many[WAYS[0]]}


def _made_anew(folder: Path, count: int, root: str, address: str) -> dict[str, Made]:
    """The spread stages of a finished store, by the workers at an address."""
    place = folder / str(count)
    shutil.copytree(place / "here", place / root, symlinks=True)
    for stage in (name for name, stage in CATALOG.items() if stage.spread):
        shutil.rmtree(place / root / stage, ignore_errors=True)
    run(place, root, "--executor", "dask", "--dask", address)
    return made_by(place / root, count)


def table(found: Found) -> str:
    """A Markdown table, a line a stage, the costliest first."""
    lines = ["| stage | ms an image | KB an image | files | `here`, images/s | one worker | two workers | two : one |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for stage, ways in sorted(found.items(), key=lambda item: -_each(item[1][WAYS[0]])):
        here = ways[WAYS[0]]
        rates = [1 / _each(ways[way]) for way in WAYS]
        cells = [f"`{stage}`", f"{1000 * _each(here):.1f}", f"{here.bytes / here.images / 1000:.1f}"]
        cells += [f"{here.files / here.images:.0f}", *(f"{rate:.1f}" for rate in rates), f"{rates[2] / rates[1]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _each(made: Made) -> float:
    """Seconds an image; a stage that is too quick to be seen takes a tenth of a millisecond."""
    return max(made.seconds / made.images, 1e-4)

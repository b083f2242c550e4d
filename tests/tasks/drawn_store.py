"""A small store with the artifacts of a finished run, as the stages would have left them, and drafts of releases."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Measurement
from tag2mask.configs.sections.release import Release as Rules
from tag2mask.tasks import measure_labels
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.release.contents import Draft
from tag2mask.tasks.release.publish import Publication, publish
from tag2mask.tasks.release.releases import Releases
from tag2mask.tasks.store.artifact import Artifact, Recipe
from tag2mask.tasks.store.files import note_written, write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_run import blocks, maps_of, write_class_maps, write_dataset, write_saliency
from tests.tasks.store.toy_artifacts import build_with

CLASSES = ("ant", "bee", "cow")
LENIENT = Rules(maximum_class_divergence=None, maximum_changed_images=None, minimum_miou=None, maximum_miou_drop=None)
"""A gate that the drawn labels pass."""

Labels = dict[str, np.ndarray]


def drawn_labels(count: int = 6, seed: int = 3) -> Labels:
    """Label maps of one or two rectangles with an ignored rim."""
    return blocks(seed, count, len(CLASSES))


def artifact(
    store: Store, stage: str, make: Callable[[Path], object], inputs: Mapping[str, Artifact], content: str = ""
) -> Artifact:
    """The artifact of some inputs and a content that its settings tell; built unless it is there."""
    recipe = Recipe(stage, 1, {"content": content}, {name: source.digest for name, source in inputs.items()})

    def write(out: Path) -> None:
        make(out)
        (out / "manifest.json").unlink(missing_ok=True)  # the drawn one
        for path in out.rglob("*"):
            note_written(path)

    paths = {name: source.label for name, source in inputs.items()}
    about = {"input_paths": paths, "versions": {}, "item_keys": {}, "reused_images": 0}
    return store.find(stage, recipe.key) or build_with(store, recipe, write, about=about)


def write_all(out: Path, labels: Labels) -> None:
    """Write label maps as `<id>.png`."""
    for image_id, pixels in labels.items():
        write_labels(out / f"{image_id}.png", pixels)


def digest_of(labels: Labels) -> str:
    """What tells two sets of labels apart."""
    return hashlib.sha256(b"".join(name.encode() + labels[name].tobytes() for name in sorted(labels))).hexdigest()


def draft_of(store: Store, labels: Labels, masks: Labels | None = None, classes: tuple[str, ...] = CLASSES) -> Draft:
    """A finished run with these labels; `masks` say what the images show and where CAM and saliency see it."""
    masks = labels if masks is None else masks
    shown = digest_of(masks)
    maps = {image_id: maps_of(mask) for image_id, mask in masks.items()}
    salient = {image_id: ((mask % 255) > 0) * np.uint8(255) for image_id, mask in masks.items()}
    dataset = artifact(store, "index_dataset", lambda out: write_dataset(out, classes, masks), {}, shown)
    root = {"dataset": dataset}
    made = artifact(store, "mask_nonsalient", lambda out: write_all(out, labels), root, digest_of(labels))
    cams = artifact(store, "infer_cams", lambda out: write_class_maps(out, "infer_cams", maps), root)
    saliency = artifact(store, "predict_saliency", lambda out: write_saliency(out, salient), root)
    inputs = {"dataset": dataset, "labels": made, "cams": cams, "saliency": saliency}
    paths = {name: source.path for name, source in inputs.items()}
    signals = artifact(
        store, "measure_labels", lambda out: measure_labels.run(Measurement(), out, StageRuntime(), **paths), inputs
    )
    report = artifact(store, "render_report", lambda out: (out / "report.html").write_text("<html>"), {"made": made})
    return Draft(made, dataset, signals, report)


def evaluation_of(store: Store, miou: float) -> Artifact:
    """An `evaluate` artifact with a mean IoU."""
    scores = {"summary": {"miou": miou}}
    return artifact(store, "evaluate", lambda out: write_json(out / "scores.json", scores), {}, str(miou))


def toy(store: Store) -> Releases:
    """The releases that `published` makes."""
    return Releases(store, "toy")


def published(
    store: Store, draft: Draft, rules: Rules = LENIENT, *, forced: str | None = None, miou: float | None = None
) -> Publication:
    """Publish a draft under the name `toy`."""
    scores = None if miou is None else evaluation_of(store, miou)
    return publish(store, "toy", draft, rules, evaluation=scores, about={"config": {}, "artifacts": {}}, forced=forced)


def changed(labels: Labels, image_id: str, share: float) -> Labels:
    """The labels with a share of one image's rows turned into another class."""
    pixels = labels[image_id].copy()
    rows = round(share * len(pixels))
    pixels[:rows] = np.where(pixels[:rows] == 1, 2, 1)
    return {**labels, image_id: pixels}


LABELS = drawn_labels()
OTHER = changed(LABELS, "p01", 0.5)
"""The same labels, but for half of an image."""

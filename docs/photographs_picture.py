"""Draw freely licensed photographs through every step of a finished run of voc-mini: docs/photographs.png.

    python docs/photographs_picture.py ROOT     # ROOT: the store; no training has seen these photographs

Five are scikit-image's examples, CC0 or in the public domain: an astronaut (NASA), a man with a camera (Lav Varshney),
the cat Chelsea (Stefan van der Walt), a cup on a table (Rachel Michetti), a rocket (SpaceX).  Seven are in
docs/photographs, whose README names photographers and licences.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd
import skimage.data
from demo_picture import drawn
from PIL import Image

from tag2mask.configs.load import load_config
from tag2mask.flows.dag.record import latest
from tag2mask.flows.init import packaged
from tag2mask.flows.using.trained_models import NamedModel, named_segmenter
from tag2mask.tasks import (
    fuse_labels,
    infer_attention,
    infer_cams,
    predict_masks,
    predict_saliency,
    refine_cams,
    refine_masks,
)
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter
from tag2mask.tasks.report.gallery import Column, gallery_rows
from tag2mask.tasks.store.files import read_json, write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store

EXAMPLES = {"astronaut": "person", "camera": "person", "chelsea": "cat", "coffee": "diningtable", "rocket": "aeroplane"}
"""Photograph of scikit-image -> its tag; a rocket is none of the classes, an aeroplane the nearest."""
OWN = {
    "cow": "cow",
    "dog": "dog",
    "horses": "horse",
    "kingfisher": "bird",
    "kitten": "cat",
    "owl": "bird",
    "sheep": "sheep",
}
"""Photograph of docs/photographs -> its tag."""
TAGS = EXAMPLES | OWN
SHOWN = {
    "infer_cams": "CAM",
    "infer_attention": "OA-CAM",
    "predict_saliency": "saliency",
    "refine_cams": "labels 0",
    "predict_masks": "prediction 1",
    "refine_masks": "prediction 1 + CRF",
    "fuse_labels": "labels 1",
}
"""Stage -> title of its column."""
DELIVERED = "delivered, no tag"
"""Title of the last column: what `tag2mask predict` says of the photograph."""
MODELS = ("index_dataset", "train_classifier", "train_saliency", "train_attention", "train_segmenter-1")
"""Nodes of the run whose results are needed."""
OWN_FOLDER = Path(__file__).with_name("photographs")
TARGET = OWN_FOLDER.with_suffix(".png")


def models_of(root: Path, name: str) -> dict[str, Path]:
    """Folders of the index and of the models of a run.

    Raises:
        SystemExit: there is no such run, or a result of it is gone.
    """
    record, store = latest(root, name), Store.existing(root)
    if record is None:
        raise SystemExit(f"{root} holds no run {name}: run configs/voc-mini.yaml")
    folders = {}
    for node in MODELS:
        artifact = store.find(*record.labels[node].split("/"))
        if artifact is None:
            raise SystemExit(f"{root} no longer holds {record.labels[node]}: run configs/voc-mini.yaml")
        folders[node] = artifact.path
    return folders


def write_index(folder: Path, classes: list[str]) -> Path:
    """The photographs as an index of training images."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for image_id, tag in TAGS.items():
        own = OWN_FOLDER / f"{image_id}.jpg"
        picture = Image.open(own) if image_id in OWN else Image.fromarray(getattr(skimage.data, image_id)())
        picture = picture.convert("RGB")
        picture.thumbnail((500, 500))
        picture.save(folder / "images" / f"{image_id}.png")
        row = {"image_id": image_id, "file": f"images/{image_id}.png", "split": "train", "labels": tag}
        rows.append(row | {"width": picture.width, "height": picture.height})
    write_json(folder / "classes.json", classes)
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    return folder


def label(models: dict[str, Path], folder: Path) -> None:
    """Put the photographs through every step, each below the folder under the name of its stage."""
    config, runtime = load_config(packaged("voc-mini.yaml")), StageRuntime()
    data = {"dataset": folder / "index_dataset"}
    cams, attention, saliency = (folder / stage for stage in ("infer_cams", "infer_attention", "predict_saliency"))
    first, scores = folder / "refine_cams", folder / "predict_masks"
    infer_cams.run(config.cams, cams, runtime, **data, model=models["train_classifier"])
    infer_attention.run(config.attention_maps, attention, runtime, **data, model=models["train_attention"])
    provider, trained = config.saliency.provider, models["train_saliency"]
    predict_saliency.run(config.saliency_maps, saliency, runtime, provider=provider, **data, model=trained)
    evidence = {"saliency": saliency, "cams": cams, "attention": attention}
    refine_cams.run(config.cam_refinement, first, runtime, **data, **evidence)
    predict_masks.run(config.prediction, scores, runtime, split="train", **data, model=models["train_segmenter-1"])
    refine_masks.run(config.refinement, folder / "refine_masks", runtime, **data, scores=scores)
    fuse_labels.run(config.fusion, folder / "fuse_labels", runtime, **data, scores=scores, labels=first)


def predict(model: NamedModel, dataset: Path, folder: Path) -> None:
    """Label map of each photograph by a segmenter that knows no tag of it."""
    segmenter = TrainedSegmenter.load(model.folder, prediction=model.settings(())[0])
    folder.mkdir()
    for image_id, file in ImageIndex.read(dataset).sources.items():
        write_labels(folder / f"{image_id}.png", segmenter.predict(file).labels)


def made(stage: str, folder: Path, image_id: str) -> Path:
    """File of an image among a stage's."""
    return folder / stage / CATALOG[stage].file.format(image_id)


def main(root: Path, name: str) -> None:
    """Label the photographs and draw them."""
    models = models_of(root, name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        index = write_index(folder / "index_dataset", read_json(models["index_dataset"] / "classes.json"))
        label(models, folder)
        predict(named_segmenter(name, root), index, folder / "predicted")
        columns = [
            Column(title, CATALOG[stage].picture or "labels", partial(made, stage, folder), {})
            for stage, title in SHOWN.items()
        ]
        columns.append(Column(DELIVERED, "labels", lambda image_id: folder / "predicted" / f"{image_id}.png", {}))
        rows = gallery_rows(ImageIndex.read(index), list(TAGS), columns, {}, side=128, threads=1)
        drawn(rows).quantize(256).save(TARGET, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "voc-mini")

"""Settings of stages that take a second, and their inputs: seven drawn images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import write_gray
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.training.accumulated_attention import AttentionAccumulator
from tests.tasks.drawn_run import blocks, write_dataset, write_label_maps

CLASSES = ("cat", "dog", "owl")
BACKBONE = {"name": "squeezenet1_1", "output_stride": 16}
TAGGER: dict[str, Any] = {
    "backbone": BACKBONE,
    "head_convolutions": 1,
    "head_channels": 8,
    "graph": {"normalize": True, "nodes": 4, "states": 4, "blocker_init": "zero"},
    "image_size": 64,
    "epochs": 3,
    "batch_size": 3,
    "drop_epochs": (2,),
    "accumulate_from": 1,
    "accumulate_probability": 0.1,
}
FROZEN_BACKBONE = {"backbone": {"name": "resnet18", "output_stride": 32}, "backbone_factor": 0.0}
"""Its batch norms are folded while it trains, which a checkpoint must survive."""
TRAINED_BACKBONE = {"backbone": {"name": "resnet18", "output_stride": 32, "freeze_batch_norm": False}}
"""Its batch norms have running statistics, which a checkpoint must hold."""
MIRRORED = {"flip": True, "optimizer": "adamw"}
"""AdamW keeps more per parameter than SGD, and which images are mirrored must not depend on where it stopped."""
SALIENCY: dict[str, Any] = {
    "backbone": BACKBONE,
    "channels": 8,
    "key_channels": 4,
    "image_size": 64,
    "iterations": 5,
    "batch_size": 2,
}
PURNET: dict[str, Any] = {
    **{key: value for key, value in SALIENCY.items() if key != "key_channels"},
    "provider": "purnet",
    "iterations": 6,
    "purnet": {
        "superpixels": 20,
        "stages": [
            {"share": 0.34, "attention": False, "structural_similarity": 1.0},
            {"share": 0.33, "batch_size": 3, "main_factor": 1.0},
            {"share": 0.33, "structural_similarity": 1.0},
        ],
    },
}
"""Two steps in each of three stages that differ in losses, trained parts, batch and learning rate."""
SEGMENTER: dict[str, Any] = {
    "backbone": BACKBONE,
    "rates": (1, 2),
    "train_scales": (1.0, 0.5),
    "crop_size": 64,
    "iterations": 5,
    "batch_size": 4,
    "micro_batch": 2,
}


def write_inputs(folder: Path) -> dict[str, Path]:
    """A dataset of seven images, label maps, saliency pairs, and accumulated attention."""
    masks = blocks(3, 7, len(CLASSES), size=(48, 72))
    dataset = write_dataset(folder / "dataset", CLASSES, masks)
    write_label_maps(folder / "labels", "mine_objects", masks)
    for image_id, mask in masks.items():
        write_gray(folder / "pairs" / "masks" / f"{image_id}.png", np.where(mask > 0, 255, 0).astype(np.uint8))
        (folder / "pairs" / "images").mkdir(exist_ok=True)
        (folder / "pairs" / "images" / f"{image_id}.png").write_bytes((dataset / f"images/{image_id}.png").read_bytes())
    rows = {"image_id": list(masks), "file": [f"images/{image_id}.png" for image_id in masks]}
    pd.DataFrame(rows).to_csv(folder / "pairs" / "index.csv", index=False)
    index = ImageIndex.read(dataset)
    accumulator = AttentionAccumulator(index.tag_matrix(), (3, 3), 0.0)
    images = list(range(len(index)))
    logits, maps = torch.zeros(len(images), len(CLASSES)), torch.rand(len(images), len(CLASSES), 3, 3)
    accumulator.add(images, logits, maps, last_epoch=True)
    (folder / "classifier").mkdir()
    accumulator.save(folder / "classifier", index.ids)
    write_json(folder / "classifier" / "model.json", {"kind": "classifier", "classes": index.classes})
    return {name: folder / name for name in ("dataset", "labels", "pairs", "classifier")}

"""Class activation maps (CAM) of each image's own tags (NSROM, stage B).

Reads   dataset        the index
        model          model folder of `train_classifier`
Writes  <id>.npz       maps (K, h, w) uint8, numbers (K,) uint8; see `dataset/class_maps.py`
"""

from functools import partial
from pathlib import Path
from typing import Literal

from tag2mask.configs.schema import Activation, Classifier
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process
from tag2mask.tasks.networks.class_map_inference import class_map_process
from tag2mask.tasks.networks.factory import classifier_network, load_for_inference
from tag2mask.tasks.networks.model_folder import check_classes, read_architecture
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: Activation,
    out: Path,
    runtime: StageRuntime,
    *,
    split: Literal["train", "val"] = "train",
    dataset: Path,
    model: Path,
) -> None:
    """Infer the maps of all images of the split that are not done yet."""
    index = ImageIndex.read(dataset).split(split)
    check_classes(model, read_architecture(model, "classifier"), index.classes)
    work = partial(open_work, config=config, out=out, dataset=dataset, model=model)
    process_in_parallel(index.ids, out, work, runtime, network=True)


def open_work(device: str, *, config: Activation, out: Path, dataset: Path, model: Path) -> Process:
    """What a worker does: it loads the network once."""
    index, architecture = ImageIndex.read(dataset), read_architecture(model, "classifier")
    network = classifier_network(Classifier.model_validate(architecture["config"]), len(index.classes))
    load_for_inference(model, network, device)
    return class_map_process(lambda images: network(images)[1], network.backbone, index, config, out, device)

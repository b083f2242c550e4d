"""OA-CAM: class maps by the integral attention model, of each training image's own tags (NSROM, stage D).

Reads   dataset        the index
        model          model folder of `train_attention`
Writes  <id>.npz       maps (K, h, w) uint8, numbers (K,) uint8; see `dataset/class_maps.py`
"""

from functools import partial
from pathlib import Path

from torch import Tensor

from tag2mask.configs.schema import Activation, Attention
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process
from tag2mask.tasks.networks.class_map_inference import class_map_process
from tag2mask.tasks.networks.factory import attention_network, load_for_inference
from tag2mask.tasks.networks.model_folder import check_classes, read_architecture
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Activation, out: Path, runtime: StageRuntime, *, dataset: Path, model: Path) -> None:
    """Infer the maps of all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    check_classes(model, read_architecture(model, "attention"), index.classes)
    work = partial(open_work, config=config, out=out, dataset=dataset, model=model)
    process_in_parallel(index.ids, out, work, runtime, network=True)


def open_work(device: str, *, config: Activation, out: Path, dataset: Path, model: Path) -> Process:
    """What a worker does: it loads the network once."""
    index, architecture = ImageIndex.read(dataset), read_architecture(model, "attention")
    network = attention_network(Attention.model_validate(architecture["config"]), len(index.classes))
    load_for_inference(model, network, device)

    def maps_of(images: Tensor) -> Tensor:
        return network.class_maps(network(images))

    return class_map_process(maps_of, network.backbone, index, config, out, device)

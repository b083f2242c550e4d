"""What a map costs: one image at a time, on one core, from its file to maps of its size."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from tag2mask.configs.schema import CosaliencyMaps
from tag2mask.tasks import predict_saliency
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.networks.factory import load_for_inference
from tag2mask.tasks.networks.model_folder import cosaliency_settings, saliency_settings
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.predict_cosaliency import Groups
from tag2mask.tasks.systems.registry import SALIENCY_SYSTEMS, cosaliency_network, saliency_network

TIMED = 20
"""Images of which the median time is taken."""


def timed(index: ImageIndex) -> list[ImageRecord]:
    """The images that are timed, evenly spread."""
    return list(index)[:: max(1, len(index) // TIMED)][:TIMED]


def median_seconds(predict: Callable[[ImageRecord], Any], index: ImageIndex) -> float:
    """Median seconds of an image with one thread; the first one is done twice and its first time not counted."""
    threads, records, seconds = torch.get_num_threads(), timed(index), []
    torch.set_num_threads(1)
    try:
        for record in (records[0], *records):
            started = time.perf_counter()
            with torch.inference_mode():
                predict(record)
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(seconds[1:])


def single_predictor(model: Path, index: ImageIndex, *, flip: bool) -> tuple[Callable[[ImageRecord], Any], int]:
    """What makes the map of an image, from its file to its size; and the network's parameters."""
    settings = saliency_settings(model)
    network, system = saliency_network(settings), SALIENCY_SYSTEMS[settings.provider]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    load_for_inference(model, network, "cpu")

    def predict(record: ImageRecord) -> torch.Tensor:
        pixels = resize(index.pixels(record), (settings.image_size, settings.image_size))
        maps, _ = predict_saliency.predict_maps(network, [to_batch([pixels], "cpu")], system=system, flip=flip)
        return F.interpolate(maps, size=record.size, mode="bilinear", align_corners=False)

    return predict, parameters


def group_predictor(
    model: Path, index: ImageIndex, config: CosaliencyMaps, saliency: Path | None
) -> tuple[Callable[[ImageRecord], Any], int]:
    """What makes an image's maps of all its tags, once their consensus is known; and the network's parameters."""
    network, side, parameters = _group_network(model)
    groups = Groups(network, index, config, side=side, saliency=saliency, device="cpu")
    with torch.inference_mode():
        for number in {number for record in timed(index) for number in record.tags}:
            groups.agreed(number)

    def predict(record: ImageRecord) -> list[torch.Tensor]:
        maps = groups.maps(record, config.map)
        return [F.interpolate(one, size=record.size, mode="bilinear", align_corners=False) for one in maps.values()]

    return predict, parameters


def lone_predictor(
    model: Path, index: ImageIndex, config: CosaliencyMaps, saliency: Path | None
) -> tuple[Callable[[ImageRecord], torch.Tensor], int]:
    """What makes the map (1, 1, H, W) of an image that is a group by itself; and the network's parameters."""
    network, side, parameters = _group_network(model)

    def predict(record: ImageRecord) -> torch.Tensor:
        alone = index.only([record.image_id])
        groups = Groups(network, alone, config, side=side, saliency=saliency, device="cpu")
        (small,) = groups.maps(record, config.map).values()
        return F.interpolate(small, size=record.size, mode="bilinear", align_corners=False)

    return predict, parameters


def _group_network(model: Path) -> tuple[Any, int, int]:
    """A trained group system, the side that it takes in pixels, and how many parameters it has."""
    settings = cosaliency_settings(model)
    network = cosaliency_network(settings)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    load_for_inference(model, network, "cpu")
    return network, settings.image_size, parameters

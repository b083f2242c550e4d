"""Saliency and background map of each photograph, by reciprocal attention or from a folder of maps.

Reads   dataset               the index
        model                 model folder of `train_saliency`; or
        maps                  a folder that the user brings: <id>.png, 8-bit grey, the photograph's size
Writes  saliency/<id>.png     (H, W) uint8: relu(sigma(F) - sigma(B)), claim 7, thresholded by claim 6
        background/<id>.png   (H, W) uint8: sigma(B); for a folder of maps 255 - saliency
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import Prediction, Saliency, SaliencyOf
from tag2mask.tasks.common.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.common.journal import process_images
from tag2mask.tasks.common.label_images import read_grey, write_grey
from tag2mask.tasks.common.networks import load_for_inference, read_architecture, saliency_network
from tag2mask.tasks.common.photographs import resize
from tag2mask.tasks.common.runtime import StageRuntime
from tag2mask.tasks.common.tensors import batches, to_batch

LISTED = 10
"""Faulty ids that an error message lists."""


class BadMaps(ValueError):
    """A folder of saliency maps does not fit the dataset; the message lists the ids."""


def run(
    config: Prediction,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    model: Path | None = None,
    maps: Path | None = None,
) -> None:
    """Write both maps of all photographs of the split (`SaliencyOf`; else the training photographs) not done yet."""
    index = ImageIndex.read(dataset).split(config.split if isinstance(config, SaliencyOf) else "train")
    records = {record.image_id: record for record in index}
    if maps is not None:
        _check_maps(maps, index)
        folder = maps

        def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
            for image_id in image_ids:
                saliency = read_grey(folder / f"{image_id}.png")
                yield image_id, _write(out, image_id, _filtered(saliency, config.threshold), 255 - saliency)

    elif model is not None:
        settings = Saliency.model_validate({**read_architecture(model, "saliency")["config"], "checkpoint": model})
        network = saliency_network(settings)
        load_for_inference(model, network, runtime.device)

        def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
            for part in batches(image_ids, config.batch_size):
                yield from _predict(
                    network, index, [records[i] for i in part], settings.image_size, config, out, runtime
                )

    else:
        raise ValueError("predict_saliency needs a model or a folder of maps")
    process_images(
        list(index.ids), out, process, shard=runtime.shard, earlier=runtime.earlier, progress=runtime.progress
    )


def _predict(
    network: nn.Module,
    index: ImageIndex,
    records: list[ImageRecord],
    side: int,
    config: Prediction,
    out: Path,
    runtime: StageRuntime,
) -> Iterator[tuple[str, list[Path]]]:
    pictures = [resize(index.pixels(record), (side, side)) for record in records]
    with torch.inference_mode():
        foreground, background = both_sides(network, to_batch(pictures, runtime.device), flip=config.flip)
        saliency = (foreground - background).relu()
        for number, record in enumerate(records):
            maps = torch.cat([saliency[number : number + 1], background[number : number + 1]])  # (2, 1, S, S)
            large = F.interpolate(maps, size=record.size, mode="bilinear", align_corners=False)[:, 0]
            grey = (large * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            yield record.image_id, _write(out, record.image_id, _filtered(grey[0], config.threshold), grey[1])


def both_sides(network: nn.Module, images: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """Foreground and background probabilities (N, 1, S, S), averaged with those of the mirror images if `flip`."""
    foreground, background = (logits.sigmoid() for logits in network(images)[-1])
    if flip:
        mirrored = [logits.sigmoid().flip(3) for logits in network(images.flip(3))[-1]]
        foreground, background = (foreground + mirrored[0]) / 2, (background + mirrored[1]) / 2
    return foreground, background


def _filtered(saliency: np.ndarray, threshold: float) -> np.ndarray:
    """Claim 6: saliency below the threshold becomes 0."""
    return np.where(saliency >= threshold * 255, saliency, 0).astype(np.uint8)


def _write(out: Path, image_id: str, saliency: np.ndarray, background: np.ndarray) -> list[Path]:
    return [
        write_grey(out / "saliency" / f"{image_id}.png", saliency),
        write_grey(out / "background" / f"{image_id}.png", background),
    ]


def _check_maps(folder: Path, index: ImageIndex) -> None:
    """Refuse a folder in which a map is missing or has another size than its photograph, before anything is written."""
    missing = [record.image_id for record in index if not (folder / f"{record.image_id}.png").is_file()]
    if missing:
        raise BadMaps(f"{folder}: {len(missing)} of {len(index)} saliency maps <id>.png are missing: {_some(missing)}")
    wrong = []
    for record in index:
        shape = read_grey(folder / f"{record.image_id}.png").shape
        if shape != record.size:
            wrong.append(f"{record.image_id} ({shape[1]}x{shape[0]}, photograph {record.width}x{record.height})")
    if wrong:
        raise BadMaps(f"{folder}: {len(wrong)} saliency maps are not of their photograph's size: {_some(wrong)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")

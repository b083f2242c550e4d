"""Saliency and background map of each image, by a trained network or from a folder of maps.

Reads   dataset               the index
        model                 model folder of `train_saliency`; or
        maps                  a folder that the user brings: <id>.png, 8-bit gray, the image's size
Writes  saliency/<id>.png     (H, W) uint8, thresholded by claim 6 of US 11,151,725
        background/<id>.png   (H, W) uint8
        provenance.json       which masks are behind the maps
        metrics.json          the same in short

Reciprocal attention: saliency relu(sigma(F) - sigma(B)), claim 7, or another `score`, and background sigma(B).
PurNet: sigma(P_1) and its complement.  A folder of maps: they themselves, and 255 - saliency.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import Prediction
from tag2mask.models.parts.convolution_block import resize_bilinear
from tag2mask.models.saliency.reciprocal_attention import Score
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.dataset.provenance import SILENT_MODEL, Provenance
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.networks.factory import load_for_inference
from tag2mask.tasks.networks.model_folder import saliency_settings
from tag2mask.tasks.networks.tensors import batches, images_at_once, to_batch
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import SALIENCY_SYSTEMS, saliency_network
from tag2mask.tasks.systems.saliency_system import SaliencySystem

LISTED = 10
"""Faulty ids that an error message lists."""


class BadMaps(UserError, ValueError):
    """A folder of saliency maps does not fit the dataset; the message lists the ids."""


def run(
    config: Prediction,
    out: Path,
    runtime: StageRuntime,
    *,
    provider: str | None = None,
    split: Literal["train", "val"] = "train",
    dataset: Path,
    model: Path | None = None,
    maps: Path | None = None,
) -> None:
    """Write both maps of all images of the split that are not done yet.

    Args:
        config: how the network is applied.
        out: folder of the result.
        runtime: executor, device and progress.
        provider: what the maps must come from, so that a model folder of another network is refused; None takes any.
        split: images to process.
        dataset: the index.
        model: model folder of `train_saliency`; or
        maps: a folder of maps.

    Raises:
        BadMaps: the folder of maps does not fit the images.
        WeightsError: the model is another network than the provider's, or cannot be read.
    """
    index = ImageIndex.read(dataset).split(split)
    if maps is not None:
        _check_maps(maps, index)
        provenance = Provenance.read(maps, otherwise="the user's maps: unknown")
        work = partial(open_maps, config=config, out=out, maps=maps)
    elif model is not None:
        saliency_settings(model, provider)
        provenance = Provenance.read(model, otherwise=SILENT_MODEL)
        work = partial(open_model, config=config, out=out, dataset=dataset, model=model)
    else:
        raise ValueError("predict_saliency needs a model or a folder of maps")
    provenance.write(out)
    write_json(out / "metrics.json", provenance.as_metrics())
    process_in_parallel(index.ids, out, work, runtime, network=maps is None)


def open_maps(device: str, *, config: Prediction, out: Path, maps: Path) -> Process:
    """What a worker does with a folder of maps."""

    def take(image_id: str) -> list[Path]:
        saliency = read_gray(maps / f"{image_id}.png")
        return _write(out, image_id, _filtered(saliency, config.threshold), 255 - saliency)

    return one_by_one(take)


def open_model(device: str, *, config: Prediction, out: Path, dataset: Path, model: Path) -> Process:
    """What a worker does with a model: it loads the network once."""
    index, settings = ImageIndex.read(dataset), saliency_settings(model)
    network, system = saliency_network(settings), SALIENCY_SYSTEMS[settings.provider]
    load_for_inference(model, network, device)
    records = {record.image_id: record for record in index}

    def process(image_ids: Sequence[str]) -> Iterator[tuple[str, list[Path]]]:
        for part in batches(image_ids, images_at_once(config.batch_size, device)):
            pixels = [index.pixels(records[i]) for i in part]
            views = _views(pixels, settings.image_size, config.scales, device)
            with torch.inference_mode():
                maps = predict_maps(network, views, system=system, flip=config.flip, score=config.score)
                for number, image_id in enumerate(part):
                    gray = _gray([one[number] for one in maps], records[image_id].size)
                    yield image_id, _write(out, image_id, _filtered(gray[0], config.threshold), gray[1])

    return process


def _views(pixels: Sequence[np.ndarray], side: int, scales: Sequence[float], device: str) -> list[Tensor]:
    """Images at all sizes, (N, 3, S, S) each."""
    sides = [round(side * scale) for scale in scales]
    return [to_batch([resize(one, (length, length)) for one in pixels], device) for length in sides]


def _gray(maps: Sequence[Tensor], size: tuple[int, int]) -> np.ndarray:
    """Maps (1, S, S) of an image in [0, 1], enlarged to its size: (maps, H, W) uint8."""
    large = F.interpolate(torch.stack(list(maps)), size=size, mode="bilinear", align_corners=False)[:, 0]
    gray: np.ndarray = (large * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return gray


def predict_maps(
    network: nn.Module,
    views: Sequence[Tensor],
    *,
    system: SaliencySystem[Any],
    flip: bool,
    score: Score = "difference",
) -> tuple[Tensor, Tensor]:
    """Saliency and background of images, from probabilities averaged over sizes and, if `flip`, over mirror images.

    Args:
        network: what predicts.
        views: the same images (N, 3, S, S) at one or more sizes.
        system: of which the network is.
        flip: average with the mirror images' maps.
        score: how the maps of foreground and background become one.

    Returns:
        Saliency and background, both (N, 1, S, S) in [0, 1], at the first view's size.
    """
    size = views[0].shape[2:]
    found = [resize_bilinear(system.probabilities(network, view), size) for view in views]
    if flip:
        found += [resize_bilinear(system.probabilities(network, view.flip(3)).flip(3), size) for view in views]
    mean = torch.stack(found).mean(0)  # (views, N, 2, S, S) -> (N, 2, S, S)
    foreground, background = mean[:, :1], mean[:, 1:]
    return system.combine(foreground, background, score), background


def _filtered(saliency: np.ndarray, threshold: float) -> np.ndarray:
    """Claim 6: saliency below the threshold becomes 0."""
    return np.where(saliency >= threshold * 255, saliency, 0).astype(np.uint8)


def _write(out: Path, image_id: str, saliency: np.ndarray, background: np.ndarray) -> list[Path]:
    return [
        write_gray(out / "saliency" / f"{image_id}.png", saliency),
        write_gray(out / "background" / f"{image_id}.png", background),
    ]


def _check_maps(folder: Path, index: ImageIndex) -> None:
    """Refuse a folder whose maps are missing, of another size than the image, or 0/1 masks, before all else."""
    missing = [record.image_id for record in index if not (folder / f"{record.image_id}.png").is_file()]
    if missing:
        raise BadMaps(f"{folder}: {len(missing)} of {len(index)} saliency maps <id>.png are missing: {_some(missing)}")
    wrong, brightest = [], 0
    for record in index:
        saliency = read_gray(folder / f"{record.image_id}.png")
        brightest = max(brightest, int(saliency.max()))
        if saliency.shape != record.size:
            height, width = saliency.shape
            wrong.append(f"{record.image_id} ({width}x{height}, image {record.width}x{record.height})")
    if 0 < brightest <= 1:
        raise BadMaps(f"{folder}: no map is brighter than 1; saliency is 0 to 255: multiply 0/1 masks by 255")
    if wrong:
        raise BadMaps(f"{folder}: {len(wrong)} saliency maps are not of their image's size: {_some(wrong)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")

"""Train a saliency network on images with salient-object masks.

Reads   saliency_set   images/, masks/, index.csv, provenance.json of `index_saliency_set`; or
        dataset        the index, and
        targets        <id>.png of `make_saliency_pseudo_labels`, whose unknown pixels enter no loss
        weights        state dict of an ImageNet network, where the settings name a file; or
        start          model folder of this stage, from whose weights the training starts
Writes  model.pt, model.json, losses.csv, metrics.json
        provenance.json   which masks the network has seen, with those of the model that it started from

`reciprocal` is the network of US 11,151,725, claims 1-7.  The claims name no schedule; it is that of the same authors'
PurNet, stage 1 (SGD, poly 0.9, squashed squares, mirror and small rotations).  `purnet` is PurNet, trained in
the stages that the settings list.
"""

from pathlib import Path

import torch
from torch import Tensor

from tag2mask.configs.schema import Saliency
from tag2mask.models.losses import reciprocal_losses
from tag2mask.models.parts.parameter_groups import parameter_groups, subnetwork_groups
from tag2mask.models.saliency.map_loss import saliency_map_loss
from tag2mask.models.saliency.purnet import PurNet
from tag2mask.models.saliency.purnet_losses import propagate, purnet_losses
from tag2mask.models.saliency.reciprocal_attention import ReciprocalSaliency
from tag2mask.tasks.dataset.provenance import SILENT_MODEL, Provenance
from tag2mask.tasks.networks.factory import load_model, load_pretrained, place, saliency_network, save_model
from tag2mask.tasks.networks.model_folder import check_start
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.loop import POWER, Training, arithmetic, optimizer_of, poly, train
from tag2mask.tasks.training.pseudo_targets import agreed_source
from tag2mask.tasks.training.saliency_pairs import PairSource, SaliencyPairs, masked_source
from tag2mask.tasks.training.saliency_stages import StagedSchedule


def run(
    config: Saliency,
    out: Path,
    runtime: StageRuntime,
    *,
    saliency_set: Path | None = None,
    dataset: Path | None = None,
    targets: Path | None = None,
    weights: Path | None = None,
    start: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one.

    Raises:
        WeightsError: the weights, or the model to start from, do not fit the settings; the message says what.
    """
    if start is not None:
        check_start(config.replaced(start_from=start))
    source = _source(saliency_set, dataset, targets)
    provenance = source.provenance
    torch.manual_seed(config.seed)
    network = saliency_network(config)
    if start is None:
        load_pretrained(network.backbone, config.backbone, weights)
    else:
        load_model(start, network)
        provenance = provenance.after(Provenance.read(start, otherwise=SILENT_MODEL))
    place(network, runtime.device)
    if isinstance(network, PurNet):
        schedule = StagedSchedule(config, POWER)
        data = SaliencyPairs(source, config, schedule.samples, schedule.compares_regions, out)
        training = _purnet(config, network, data, schedule, runtime)
    else:
        size = config.batch_size
        data = SaliencyPairs(source, config, lambda s: range(s * size, (s + 1) * size), lambda s: False, out)
        training = _reciprocal(config, network, data, runtime)
    try:
        train(training, out, runtime)
    finally:
        data.prefetch.close()
    content = config.model_dump(mode="json", exclude=set(config.left_out))
    save_model(out, network, {"kind": "saliency", "provider": config.provider, "config": content})
    provenance.write(out)
    write_json(out / "metrics.json", {"images": len(data), "steps": config.iterations})


def _source(saliency_set: Path | None, dataset: Path | None, targets: Path | None) -> PairSource:
    """Images with masks, or the dataset's own with targets that were mined."""
    if saliency_set is not None:
        return masked_source(saliency_set)
    if dataset is None or targets is None:
        raise ValueError("train_saliency needs a saliency_set, or a dataset and targets")
    return agreed_source(dataset, targets)


def _reciprocal(config: Saliency, network: ReciprocalSaliency, data: SaliencyPairs, runtime: StageRuntime) -> Training:
    """Every level's foreground and background against the mask."""

    def loss_of_step(step: int) -> Tensor:
        images, target, keep, _ = _batch(data, step, runtime.device)
        with arithmetic(runtime.precision, runtime.device):
            levels = network(images)
        return torch.stack([_reciprocal_loss(config, maps, target, keep) for maps in levels]).sum()

    groups = parameter_groups(network, config.learning_rate, bias_factor=1.0, weight_decay=config.weight_decay)
    optimizer = optimizer_of(groups, config.optimizer, config.momentum)
    return Training(network, optimizer, config.iterations, loss_of_step, poly(POWER, config.iterations))


def _reciprocal_loss(config: Saliency, maps: tuple[Tensor, Tensor], target: Tensor, keep: Tensor) -> Tensor:
    """Losses of one level: of both maps and, where the settings say so, of the saliency that is made of them."""
    cooperative, weight = config.cooperative_loss, config.cooperative_weight
    loss = reciprocal_losses(*maps, target, keep, cooperative=cooperative, weight=weight).total
    if config.map_loss == "none":
        return loss
    return loss + config.map_loss_weight * saliency_map_loss(*maps, target, keep, score=config.map_loss)


def _purnet(
    config: Saliency,
    network: PurNet,
    data: SaliencyPairs,
    schedule: StagedSchedule,
    runtime: StageRuntime,
) -> Training:
    """The three subnetworks, each by its own loss, as the step's stage says."""

    def loss_of_step(step: int) -> Tensor:
        stage = schedule.at(step).stage
        images, target, keep, regions = _batch(data, step, runtime.device)
        with arithmetic(runtime.precision, runtime.device):
            predictions = network.supervise(images, attention=stage.attention)
        losses = purnet_losses(predictions, target, keep, regions, structural_similarity=stage.structural_similarity)
        propagate(network, losses)
        return torch.stack([loss.detach() for loss in losses]).sum()

    factors = {"backbone": 1.0, "main": 1.0, "promotion": 1.0, "rectification": 1.0}
    groups = subnetwork_groups(network, config.learning_rate, factors, weight_decay=config.weight_decay)
    optimizer = optimizer_of(groups, config.optimizer, config.momentum)
    return Training(
        network,
        optimizer,
        config.iterations,
        loss_of_step,
        learning_rate_factor=lambda step: 1.0,
        group_factor=schedule.factor,
        calls_backward=True,
    )


def _batch(data: SaliencyPairs, step: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Images (N, 3, S, S), target in [0, 1], valid pixels and, where the step needs them, superpixels (N, 1, S, S)."""
    images, *maps = data.prefetch(step)
    target, keep, *regions = (torch.from_numpy(part)[:, None].to(device) for part in maps)  # (N, S, S) -> (N, 1, S, S)
    return to_batch(images, device), target.float() / 255, keep, regions[0] if regions else None

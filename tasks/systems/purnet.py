"""PurNet as a saliency system, trained in the stages that the settings list."""

from pathlib import Path

import torch
from torch import Tensor

from tag2mask.configs.schema import Saliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.parts.parameter_groups import subnetwork_groups
from tag2mask.models.saliency.purnet import PurNet
from tag2mask.models.saliency.purnet_losses import propagate, purnet_losses
from tag2mask.models.saliency.reciprocal_attention import Score
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.purnet_schedule import StagedSchedule
from tag2mask.tasks.systems.saliency_system import SaliencySystem, batch_of_step
from tag2mask.tasks.training.loop import POWER, Training, autocast, optimizer_of
from tag2mask.tasks.training.saliency_pairs import PairSource, SaliencyPairs


def _build(config: Saliency, backbone: Backbone) -> PurNet:
    return PurNet(backbone, channels=config.channels, rescale=config.purnet.rescale)


def _pairs(config: Saliency, source: PairSource, out: Path) -> SaliencyPairs:
    schedule = StagedSchedule(config, POWER)
    return SaliencyPairs(source, config, schedule.samples, schedule.compares_regions, out)


def _training(config: Saliency, network: PurNet, data: SaliencyPairs, runtime: StageRuntime) -> Training:
    """The three subnetworks, each by its own loss, as the step's stage says."""
    schedule = StagedSchedule(config, POWER)

    def loss_of_step(step: int) -> Tensor:
        stage = schedule.at(step).stage
        images, target, keep, regions = batch_of_step(data, step, runtime.device)
        with autocast(runtime.precision, runtime.device):
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


def _probabilities(network: PurNet, images: Tensor) -> Tensor:
    foreground = network(images).sigmoid()
    return torch.cat([foreground, 1 - foreground], 1)


def _foreground(foreground: Tensor, background: Tensor, score: Score) -> Tensor:
    """The background is the complement, so there is nothing to combine."""
    return foreground


PURNET = SaliencySystem(_build, _pairs, _training, _probabilities, _foreground)

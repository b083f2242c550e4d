"""GCoNet+ as a group system: what a group shares and another has not, without single-image saliency."""

from collections.abc import Mapping

from torch import Tensor, nn

from tag2mask.configs.schema import Cosaliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.cosaliency.gconet_plus import GCoNetPlus
from tag2mask.models.cosaliency.group_collaboration import GroupBatch, GroupCollaboration, GroupWeights, group_losses
from tag2mask.tasks.systems.group_system import GroupSystem


def _build(config: Cosaliency, backbone: Backbone) -> GCoNetPlus:
    return GCoNetPlus(backbone, sharpness=config.sharpness)


def _training_parts(network: GCoNetPlus, groups: int) -> Mapping[str, nn.Module]:
    return {"collaboration": GroupCollaboration(network.backbone.channels[-1], network.channels, groups)}


def _loss(config: Cosaliency, parts: nn.ModuleDict, batch: GroupBatch, saliency: Tensor) -> Tensor:
    network, collaboration = parts["network"], parts["collaboration"]
    assert isinstance(network, GCoNetPlus) and isinstance(collaboration, GroupCollaboration)
    return group_losses(network, collaboration, batch, GroupWeights(**config.losses.model_dump()))["total"]


GCONET_PLUS = GroupSystem(_build, two_groups=True, training_parts=_training_parts, loss=_loss)

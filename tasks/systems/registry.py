"""All saliency and group systems by the name that the settings give them, and their networks.

A new saliency system costs its network in `models/saliency`, its settings in `configs/sections/saliency.py`, its record
in a file of this room, its line here, and its tests.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tag2mask.configs.schema import Cosaliency, Saliency
from tag2mask.tasks.networks.factory import backbone_network
from tag2mask.tasks.systems.gconet_plus import GCONET_PLUS
from tag2mask.tasks.systems.group_system import GroupSystem
from tag2mask.tasks.systems.icnet import ICNET
from tag2mask.tasks.systems.purnet import PURNET
from tag2mask.tasks.systems.reciprocal import RECIPROCAL
from tag2mask.tasks.systems.saliency_system import SaliencySystem

SALIENCY_SYSTEMS: Mapping[str, SaliencySystem[Any]] = {"reciprocal": RECIPROCAL, "purnet": PURNET}
GROUP_SYSTEMS: Mapping[str, GroupSystem[Any]] = {"icnet": ICNET, "gconet_plus": GCONET_PLUS}


def saliency_network(config: Saliency) -> nn.Module:
    """The network that the provider names, without pre-trained weights.

    Raises:
        KeyError: the provider has no network.
    """
    network: nn.Module = SALIENCY_SYSTEMS[config.provider].build(config, backbone_network(config.backbone))
    return network


def cosaliency_network(config: Cosaliency) -> nn.Module:
    """The network of the group system that the settings name, without pre-trained weights.

    Raises:
        ValueError: the provider is `none`.
    """
    if config.provider == "none":
        names = " or ".join(map(repr, GROUP_SYSTEMS))
        raise ValueError(f"cosaliency.provider is 'none', which has no network: choose {names}")
    backbone = backbone_network(config.backbone, fine=config.fine)
    network: nn.Module = GROUP_SYSTEMS[config.provider].build(config, backbone)
    return network

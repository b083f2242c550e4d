"""Labels from a segmenter's probabilities: the short way finds what the long way finds."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.configs.schema import MaskPrediction, Segmenter
from tag2mask.models.backbones import BACKBONES
from tag2mask.tasks.networks.factory import segmentation_network
from tag2mask.tasks.networks.mask_inference import LoadedSegmenter, at_scales, kept_scores, most_probable, segment


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("classes", [2, 21])
def test_classes_that_cannot_win_change_nothing(sharpness: float, classes: int) -> None:
    """Labels and their probabilities are those of enlarging every class, however even the classes are."""
    torch.manual_seed(classes)
    scores = (sharpness * torch.randn(classes, 7, 9)).softmax(0)
    labels, highest = most_probable(scores, (50, 61))
    large = F.interpolate(scores[None], size=(50, 61), mode="bilinear", align_corners=False)[0]
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), large.argmax(0)) and torch.equal(highest, large.amax(0))


def test_kept_scores_are_those_above_a_hundredth() -> None:
    """A class is kept if one cell gives it more than 1 %, and the background always."""
    scores = torch.tensor([0.005, 0.90, 0.009, 0.086])[:, None, None].expand(4, 2, 3)
    kept, numbers = kept_scores(scores)
    assert numbers.tolist() == [0, 1, 3] and kept.dtype == np.float16 and kept.shape == (3, 2, 3)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "resnet101"])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.4)])
def test_an_image_of_any_size_has_a_prediction(name: str, scales: tuple[float, ...]) -> None:
    """One pixel, a line of pixels and a small image are predicted with every backbone, at every scale."""
    backbone = {"name": name, "output_stride": 16, "weights": "none"}
    settings = Segmenter.model_validate({"backbone": backbone, "rates": (1,), "train_scales": scales})
    loaded = LoadedSegmenter(segmentation_network(settings, 2).eval(), ("cat", "dog"), settings)
    for size in ((1, 1), (1, 70), (17, 16), (60, 10)):
        copies = at_scales(np.zeros((*size, 3), np.uint8), MaskPrediction(scales=(1.0, 0.5)), loaded.least_side)
        with torch.inference_mode():
            scores = segment(loaded.network, [copies], flip=True, device="cpu")
        labels, _ = most_probable(scores[0], size)
        assert labels.shape == size and torch.allclose(scores.sum(1), torch.ones(()))


def test_an_image_that_is_large_enough_keeps_its_sides() -> None:
    """Only a side that is shorter than the network needs is stretched."""
    copies = at_scales(np.zeros((40, 100, 3), np.uint8), MaskPrediction(scales=(1, 0.5)), least_side=34)
    assert [copy.shape[:2] for copy in copies] == [(40, 100), (34, 50)]

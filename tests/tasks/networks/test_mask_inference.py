"""Labels from a segmenter's probabilities: the short way finds what the long way finds."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.tasks.networks.mask_inference import kept_scores, most_probable


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

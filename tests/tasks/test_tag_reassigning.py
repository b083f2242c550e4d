"""Tags in the prediction of training images: what they correct, what they leave alone."""

import pytest
import torch

from tag2mask.tasks.predict_masks import reassign_to_tags


def pixel(*probabilities: float) -> torch.Tensor:
    """(C + 1, 1, 1) of one pixel."""
    return torch.tensor(probabilities)[:, None, None]


def test_an_object_taken_for_another_class_stays_an_object() -> None:
    """A cow that looks like a horse becomes cow, not background."""
    found = reassign_to_tags(pixel(0.10, 0.85, 0.05), [2])
    torch.testing.assert_close(found, pixel(0.10, 0.0, 0.90))


def test_tagged_classes_share_in_their_proportion() -> None:
    """What the other classes had goes to those that are tagged, as they stand to each other."""
    found = reassign_to_tags(pixel(0.2, 0.3, 0.1, 0.4), [1, 2])
    torch.testing.assert_close(found, pixel(0.2, 0.6, 0.2, 0.0))


def test_tagged_classes_without_any_evidence_share_equally() -> None:
    """Where no tagged class has any probability, none is preferred, and nothing is divided by zero."""
    found = reassign_to_tags(pixel(0.4, 0.0, 0.0, 0.6), [1, 2])
    torch.testing.assert_close(found, pixel(0.4, 0.3, 0.3, 0.0))


@pytest.mark.parametrize("tags", [[1], [3, 1], [1, 2, 3, 4]])
def test_background_is_kept_and_all_sums_to_one(tags: list[int]) -> None:
    """Whatever is tagged, the background's probability does not change, and nothing is lost."""
    torch.manual_seed(0)
    scores = torch.randn(5, 6, 7).mul(4).softmax(0)
    found = reassign_to_tags(scores, tags)
    assert torch.equal(found[0], scores[0])
    torch.testing.assert_close(found.sum(0), torch.ones(6, 7))
    assert not found[[c for c in range(1, 5) if c not in tags]].any()


def test_a_prediction_of_tagged_classes_alone_is_left_as_it_is() -> None:
    """Where only tagged classes have probability, nothing changes."""
    torch.manual_seed(0)
    scores = torch.randn(4, 6, 7).softmax(0)
    torch.testing.assert_close(reassign_to_tags(scores, [1, 2, 3]), scores)


def test_an_image_without_tags_is_background() -> None:
    """Nothing can be shown where nothing is tagged."""
    found = reassign_to_tags(pixel(0.2, 0.8), [])
    torch.testing.assert_close(found, pixel(1.0, 0.0))

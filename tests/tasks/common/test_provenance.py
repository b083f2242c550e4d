"""What is told of the masks behind a model."""

from pathlib import Path

import pytest

from tag2mask.tasks.common.provenance import Provenance


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A folder tells what was written into it; one that holds nothing is unknown, never a no."""
    told = Provenance("masks of anything", "yes", 12)
    told.write(tmp_path / "told")
    assert Provenance.read(tmp_path / "told", otherwise="") == told
    silent = Provenance.read(tmp_path, otherwise="the user's maps: unknown")
    assert silent == Provenance("the user's maps: unknown", "unknown", None)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("yes", "Masks behind the saliency maps: cats (3 photographs); they show target classes."),
        ("no", "Masks behind the saliency maps: cats (3 photographs); they do not show target classes."),
        (
            "unknown",
            "Masks behind the saliency maps: cats (3 photographs); nobody has said whether they show target classes.",
        ),
    ],
)
def test_it_reads_as_a_sentence(answer: str, sentence: str) -> None:
    """Each answer makes a plain sentence."""
    assert str(Provenance("cats", answer, 3)) == sentence


def test_trainings_before_are_kept(tmp_path: Path) -> None:
    """A model that started from another one tells the masks of both; one yes is enough for the whole."""
    first, second = Provenance("cats", "yes", 3), Provenance("chairs", "no")
    both = second.after(first)
    both.write(tmp_path)
    assert Provenance.read(tmp_path, otherwise="") == both
    assert both.trainings() == [second, first] and Provenance("x").after(both).trainings()[1:] == [second, first]
    assert both.as_metrics() == {"masks_seen": "chairs; before: cats", "masks_show_target_classes": "yes"}
    assert second.after(Provenance("x")).as_metrics()["masks_show_target_classes"] == "unknown"
    assert str(both) == (
        "Masks behind the saliency maps: chairs; they do not show target classes. "
        "Trained before that on: cats (3 photographs); they show target classes."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"mask": "x"}', "cannot be read"),
        ('"x"', "cannot be read"),
        ('{"masks": "x", "earlier": [{"masks": "y", "shows_target_classes": "maybe"}]}', "'maybe'; it must be one"),
        ('{"masks": "x", "shows_target_classes": "perhaps"}', "'perhaps'; it must be one of yes, no, unknown"),
    ],
)
def test_a_damaged_one_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A file that cannot be read or answers otherwise is refused by its name."""
    path = tmp_path / "provenance.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        Provenance.read(tmp_path, otherwise="")

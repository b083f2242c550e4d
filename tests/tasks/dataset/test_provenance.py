"""What is reported of the masks behind a model."""

from pathlib import Path

import pytest

from tag2mask.tasks.dataset.provenance import Provenance


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A folder tells what was written into it; one that holds nothing is unknown, never a no."""
    reported = Provenance("masks of anything", "yes", 12)
    reported.write(tmp_path / "reported")
    assert Provenance.read(tmp_path / "reported", otherwise="") == reported
    silent = Provenance.read(tmp_path, otherwise="the user's maps: unknown")
    assert silent == Provenance("the user's maps: unknown", "unknown", None)


def test_what_is_behind_two_kinds_of_maps_is_reported_once() -> None:
    """Maps made of another's maps tell the trainings behind both, each once; one that shows the classes is a yes."""
    salient, groups = Provenance("objects", "yes", 9), Provenance("none: tags", "no", 0)
    model = groups.after(salient)
    assert model.beside(salient) == model
    other = Provenance("drawn", "no", 3)
    assert model.beside(other).trainings() == [groups, salient, other]
    assert model.as_metrics()["masks_show_target_classes"] == "yes"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("yes", "Masks behind the saliency maps: cats (3 images); they show target classes."),
        ("no", "Masks behind the saliency maps: cats (3 images); they do not show target classes."),
        (
            "unknown",
            "Masks behind the saliency maps: cats (3 images); nobody has said whether they show target classes.",
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
        "Behind that, an earlier training: cats (3 images); they show target classes."
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

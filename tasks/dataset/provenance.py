"""Which masks a saliency model or a group system has seen: it lies beside the model and its maps, and in the report.

`provenance.json` holds `masks` (in words), `shows_target_classes` (`yes`, `no` or `unknown`) and `images` (how many;
null where nobody said).  What nobody said is `unknown`, never `no`.  Where the training started from another saliency
model, `earlier` lists the same of the trainings before it, the latest first.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tag2mask.tasks.store.files import read_json, write_json

PROVENANCE = "provenance.json"
ANSWERS = ("yes", "no", "unknown")
SILENT_MODEL = "a model folder that says nothing of them"
"""Masks of a model without a `provenance.json`."""


@dataclass(frozen=True)
class Provenance:
    """What is known of the masks behind a model or behind maps."""

    masks: str
    """Which masks, in words."""
    shows_target_classes: str = "unknown"
    """One of `ANSWERS`."""
    images: int | None = None
    """How many images with masks."""
    earlier: tuple["Provenance", ...] = ()
    """Of the trainings before, the latest first; none of these has `earlier` ones of its own."""

    @classmethod
    def read(cls, folder: Path, *, otherwise: str) -> Self:
        """What a folder says; `otherwise`, and unknown, where it holds no `provenance.json`.

        Raises:
            ValueError: the file is damaged or says something else than this page; the message names it.
        """
        path = folder / PROVENANCE
        if not path.is_file():
            return cls(otherwise)
        try:
            content: dict[str, Any] = read_json(path)
            earlier = tuple(cls(**one) for one in content.pop("earlier", ()))
            found = cls(**content, earlier=earlier)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: cannot be read ({error}); take it away or copy it again") from error
        for one in found.trainings():
            if one.shows_target_classes not in ANSWERS:
                given, allowed = one.shows_target_classes, ", ".join(ANSWERS)
                raise ValueError(f"{path}: shows_target_classes is {given!r}; it must be one of {allowed}")
        return found

    def after(self, start: "Provenance") -> "Provenance":
        """Of a training on these masks that started from a model with a provenance of its own."""
        return replace(self, earlier=tuple(start.trainings()))

    def beside(self, other: "Provenance") -> "Provenance":
        """Of maps that are made of another's maps too; a training behind both is listed once."""
        more = [one for one in other.trainings() if one not in self.trainings()]
        return replace(self, earlier=(*self.earlier, *more))

    def trainings(self) -> list["Provenance"]:
        """Every training by itself, the latest first."""
        return [replace(self, earlier=()), *self.earlier]

    def write(self, folder: Path) -> None:
        """Write `provenance.json`; `earlier` only where there is some."""
        last, *earlier = (
            {name: value for name, value in asdict(one).items() if name != "earlier"} for one in self.trainings()
        )
        write_json(folder / PROVENANCE, last | ({"earlier": earlier} if earlier else {}))

    def as_metrics(self) -> dict[str, str]:
        """The same of all trainings for a manifest's metrics; one that shows target classes is enough for a yes."""
        answers = {one.shows_target_classes for one in self.trainings()}
        answer = next(answer for answer in ("yes", "unknown", "no") if answer in answers)
        seen = "; before: ".join(one.masks for one in self.trainings())
        return {"masks_seen": seen, "masks_show_target_classes": answer}

    def __str__(self) -> str:
        """The same in one sentence, and in another one for every training before."""
        first, *before = (one._masks_sentence() for one in self.trainings())
        sentences = [
            f"Masks behind the saliency maps: {first}",
            *(f"Behind that, an earlier training: {one}" for one in before),
        ]
        return " ".join(sentences)

    def _masks_sentence(self) -> str:
        count = "" if self.images is None else f" ({self.images} images)"
        answer = {"yes": "they show", "no": "they do not show", "unknown": "nobody has said whether they show"}
        return f"{self.masks}{count}; {answer[self.shows_target_classes]} target classes."

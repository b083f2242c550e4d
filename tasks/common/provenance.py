"""Which masks a saliency model has seen: told beside the model, beside its maps, and by the report.

`provenance.json` holds `masks` (in words), `shows_target_classes` (`yes`, `no` or `unknown`) and `images` (how many;
null where nobody said).  What nobody said is `unknown`, never `no`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tag2mask.tasks.common.durable import read_json, write_json

PROVENANCE = "provenance.json"
ANSWERS = ("yes", "no", "unknown")


@dataclass(frozen=True)
class Provenance:
    """What is known of the masks behind a model or behind maps."""

    masks: str
    """Which masks, in words."""
    shows_target_classes: str = "unknown"
    """One of `ANSWERS`."""
    images: int | None = None
    """How many photographs with masks."""

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
            told: dict[str, Any] = read_json(path)
            found = cls(**told)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: cannot be read ({error}); take it away or copy it again") from error
        if found.shows_target_classes not in ANSWERS:
            given, allowed = found.shows_target_classes, ", ".join(ANSWERS)
            raise ValueError(f"{path}: shows_target_classes is {given!r}; it must be one of {allowed}")
        return found

    def write(self, folder: Path) -> None:
        """Write `provenance.json`."""
        write_json(folder / PROVENANCE, asdict(self))

    def as_metrics(self) -> dict[str, str]:
        """The same for a manifest's metrics."""
        return {"masks_seen": self.masks, "masks_show_target_classes": self.shows_target_classes}

    def __str__(self) -> str:
        """The same in one sentence."""
        count = "" if self.images is None else f" ({self.images} photographs)"
        answer = {"yes": "they show", "no": "they do not show", "unknown": "nobody has said whether they show"}
        return (
            f"Masks behind the saliency maps: {self.masks}{count}; {answer[self.shows_target_classes]} target classes."
        )

"""Text in Markdown pages: names from data, paths and messages are shown as they are, and never become links or HTML."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

SPECIAL = re.compile(r"[!-/:-@\[-`{-~]")
"""ASCII punctuation: whatever can begin a link, a picture, HTML, a list or emphasis; a backslash makes it plain."""
LINKED = re.compile(r"https?:|www\.|\S@[\w-]+\.\w", re.IGNORECASE)
"""What an interface makes a link of although it is plain text (GitHub's extension of Markdown); it is shown as code."""
TURNING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")
"""Characters that make what follows them run the other way."""


def one_line(value: Any) -> str:
    """A value as text without line ends, control characters and turns of the writing direction."""
    plain = str(value).translate(TURNING)
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in plain).split())


def text(value: Any) -> str:
    """Markdown that shows a value as it is, in a line, a cell or a title; one of none is a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    plain = one_line(value)
    return code(plain) if LINKED.search(plain) else SPECIAL.sub(r"\\\g<0>", plain)


def code(value: Any) -> str:
    """Markdown that shows a value in the type of code, also in a cell."""
    plain = one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    padding = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{padding}{plain}{padding}{fence}".replace("|", "\\|") if plain else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """A Markdown table of cells that are Markdown already.

    Args:
        head: titles of the columns.
        rows: cells, as many as titles.
        numbers: columns that are set flush right.
    """
    rule = ["---:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))

"""Tables as CSV by pandas, which is imported with the first table: listing and planning need not wait for it."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tag2mask.tasks.store.digests import batched
from tag2mask.tasks.store.files import write_file

if TYPE_CHECKING:
    import numpy as np

ROWS_AT_ONCE = 4096
"""Rows of a table that are read, or written, together."""


def write_table(
    path: Path,
    rows: Sequence[Mapping[str, Any]] | Iterable[Sequence[Any]],
    columns: Sequence[str] | None = None,
    *,
    durably: bool = False,
) -> None:
    """Write rows as CSV, atomically and with the same bytes everywhere; what is None stays blank.

    With `columns` a few thousand rows are held at once; without them all: pandas looks at them to tell numbers.

    Args:
        path: the file.
        rows: column -> value each, in the order of the first one's; or the values alone, with `columns` to name them.
        columns: names of the columns; without them, and without a row, the one column is `image_id`.
        durably: as in `write_file`.
    """
    import pandas as pd

    def tables() -> Iterator[pd.DataFrame]:
        if columns is None:
            yield pd.DataFrame(list(rows), columns=None if rows else ["image_id"])
            return
        yield pd.DataFrame(columns=list(columns))  # the header
        for some in batched(rows, ROWS_AT_ONCE):
            yield pd.DataFrame(some, columns=list(columns), dtype=object)

    def write(file: BinaryIO) -> None:
        for number, table in enumerate(tables()):
            file.write(table.to_csv(index=False, header=number == 0, lineterminator="\n").encode())

    write_file(path, write, durably=durably)


def write_text_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write a JSON object of texts as `write_json` does, from (name, text) by name, of which one is held at a time.

    Raises:
        NoRoomOnDisk: the disk is full.
    """

    def write(file: BinaryIO) -> None:
        before = "{\n "
        for name, text in pairs:
            file.write(f"{before}{json.dumps(name)}: {json.dumps(text)}".encode())
            before = ",\n "
        file.write(b"{}\n" if before.startswith("{") else b"\n}\n")

    write_file(path, write, durably=True)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table that `write_table` wrote, column -> text each; a blank is "".

    Raises:
        OSError: it cannot be read.
    """
    return list(table_rows(path))


def table_rows(path: Path) -> Iterator[dict[str, str]]:
    """The same, a few thousand rows in memory at once.

    Raises:
        OSError: it cannot be read.
    """
    import pandas as pd

    with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=ROWS_AT_ONCE) as tables:
        for table in tables:
            yield from table.to_dict("records")  # type: ignore[misc]  # every header is text


def read_columns(
    path: Path, *, text: Collection[str] = ("image_id",), rows: int | None = None
) -> dict[str, "np.ndarray"]:
    """Columns of a table of figures that `write_table` wrote.

    Args:
        path: the file.
        text: columns of names, which may look like numbers.
        rows: how many to read, from the first on; None: all.

    Returns:
        Name -> (N,) values: text, or numbers with NaN for a blank.

    Raises:
        OSError: it cannot be read.
    """
    import pandas as pd

    names = dict.fromkeys(text, str)
    table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""], nrows=rows)
    return {str(name): table[name].to_numpy() for name in table}

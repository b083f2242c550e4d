"""Tables as CSV by pandas, which is imported with the first table: listing and planning need not wait for it."""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.tasks.store.files import write_file

if TYPE_CHECKING:
    import numpy as np

ROWS_AT_ONCE = 4096
"""Rows of a table that are read together."""


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as CSV, atomically and with the same bytes everywhere; what is None stays blank.

    Args:
        path: the file.
        rows: column -> value each, in the order of the first one's; or the values alone, with `columns` to name them.
        columns: names of the columns; without them, and without a row, the one column is `image_id`.
    """
    import pandas as pd

    if columns is None:
        table = pd.DataFrame(rows, columns=None if rows else ["image_id"])
    else:
        table = pd.DataFrame(list(rows), columns=list(columns), dtype=object)
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    write_file(path, lambda file: file.write(text.getvalue().encode()))


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

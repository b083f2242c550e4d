"""Draw the IoU of each class before and after, as bars: docs/class-bars.svg.

    python docs/class_bars.py ROOT TITLE=evaluate/KEY TITLE=evaluate/KEY ...

ROOT is the store; `tag2mask ls evaluate` lists its measurements.
"""

import sys
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from tag2mask.tasks.report import charts

TARGET = Path(__file__).with_name("class-bars.svg")
STYLE = Path(charts.__file__).with_name("style.css")
LEFT, WIDTH, ROW, TOP = 110, 260, 16, 30
"""In pixels: where bars begin, their length with the figure, height of a series, room for the legend."""


def shares_of(folder: Path) -> pd.Series:
    """IoU of each class, from a measurement.

    Raises:
        SystemExit: it has none.
    """
    path = folder / "per_class.csv"
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; tag2mask ls evaluate lists the measurements")
    return pd.read_csv(path, index_col="class")["iou"]


def drawn(columns: dict[str, pd.Series]) -> str:
    """An SVG image: the report's bars of each class, one a series."""
    table = pd.DataFrame(columns)
    row = ROW * len(columns) + 8
    height = TOP + row * len(table)
    parts = [Markup("<style>{}</style>").format(Markup(STYLE.read_text(encoding="utf-8")))]
    for number, title in enumerate(columns):
        x = LEFT + number * 110
        parts.append(Markup('<rect class="series-{}" x="{}" y="6" width="12" height="12"/>').format(number, x))
        parts.append(Markup('<text x="{}" y="16">{}</text>').format(x + 18, title))
    for place, (name, shares) in enumerate(table.iterrows()):
        y = TOP + place * row
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 8, y + 28, name))
        box = Markup('<svg x="{}" y="{}" width="{}" height="{}">{}</svg>')
        parts.append(box.format(LEFT, y, WIDTH, ROW * len(columns), charts.class_bars(shares.to_dict())))
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" ')
    head += Markup('font-family="sans-serif">\n')
    return head.format(LEFT + 330, height) + Markup("\n").join(parts) + Markup("</svg>\n")


if __name__ == "__main__":
    root, *series = sys.argv[1:]
    named = dict(one.split("=", 1) for one in series)
    TARGET.write_text(drawn({title: shares_of(Path(root) / of) for title, of in named.items()}), encoding="utf-8")

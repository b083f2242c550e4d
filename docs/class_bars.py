"""Draw the IoU of each class before and after, as bars: docs/class-bars.svg.

    python docs/class_bars.py ROOT TITLE=evaluate/KEY TITLE=evaluate/KEY ...

ROOT is the store; `tag2mask ls evaluate` lists its measurements.
"""

import sys
from pathlib import Path

import pandas as pd
from markupsafe import Markup

TARGET = Path(__file__).with_name("class-bars.svg")
COLORS = ("#b8bec9", "#2f6fdf", "#e0872b")
"""Of the series, the ones before in gray."""
LEFT, SCALE, BAR, GAP, TOP = 110, 4.2, 9, 7, 34
"""In pixels: where bars begin, a point of IoU, height of a bar, room between classes, room for the legend."""


def shares_of(folder: Path) -> pd.Series:
    """IoU of each class in %, from a measurement.

    Raises:
        SystemExit: it has none.
    """
    path = folder / "per_class.csv"
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; tag2mask ls evaluate lists the measurements")
    return 100 * pd.read_csv(path, index_col="class")["iou"]


def drawn(columns: dict[str, pd.Series]) -> str:
    """An SVG image: for each class a bar a series, and the figure behind it."""
    table = pd.DataFrame(columns)
    row = BAR * len(columns) + GAP
    width, height = LEFT + 100 * SCALE + 40, TOP + row * len(table)
    parts = [Markup('<rect width="{}" height="{}" fill="#fff"/>').format(width, height)]
    for number, title in enumerate(columns):
        x = LEFT + number * 150
        parts.append(Markup('<rect x="{}" y="8" width="12" height="12" fill="{}"/>').format(x, COLORS[number]))
        parts.append(Markup('<text x="{}" y="18">{}</text>').format(x + 18, title))
    for place, (name, shares) in enumerate(table.iterrows()):
        y = TOP + place * row
        middle = y + (row - GAP) / 2 + 4
        parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(LEFT - 8, middle, name))
        for number, share in enumerate(shares):
            top, length = y + number * BAR, share * SCALE
            bar = Markup('<rect x="{}" y="{}" width="{:.1f}" height="{}" fill="{}"/>')
            parts.append(bar.format(LEFT, top, length, BAR - 1, COLORS[number]))
            figure = Markup('<text x="{:.1f}" y="{}" font-size="9">{:.0f}</text>')
            parts.append(figure.format(LEFT + length + 4, top + BAR - 1, share))
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" ')
    font = Markup('font-family="sans-serif" font-size="12" fill="#222">')
    return head.format(width, height) + font + Markup("\n").join(parts) + Markup("</svg>\n")


if __name__ == "__main__":
    root, *series = sys.argv[1:]
    named = dict(one.split("=", 1) for one in series)
    TARGET.write_text(drawn({title: shares_of(Path(root) / of) for title, of in named.items()}), encoding="utf-8")

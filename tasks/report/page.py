"""The report's HTML, section by section.  Texts of the dataset are escaped; no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tag2mask.tasks.report.charts import legend
from tag2mask.tasks.report.gallery import Picture, Row
from tag2mask.tasks.report.pictures import class_color
from tag2mask.tasks.report.steps import Evaluated, Step
from tag2mask.tasks.report.style import SERIES, STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content policy of the page: the browser itself refuses whatever would be fetched or run."""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole page of finished sections."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{SERIES}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def header(title: str, facts: Mapping[str, str], versions: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Name, the figures to see first, seed and versions."""
    items = "".join(f"<li><b>{escape(value)}</b>{escape(name)}</li>" for name, value in facts.items())
    told = [f"{name} {version}" for name, version in versions.items()]
    told += [f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"] if seeds else []
    return f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(" · ".join(told))}</p>\n<ul class="facts">{items}</ul>'


def section(title: str, *parts: str, about: str = "") -> str:
    """A headed section; nothing where all parts are empty."""
    body = "\n".join(part for part in parts if part)
    told = f'<p class="soft">{escape(about)}</p>\n' if about else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{told}{body}\n</section>" if body else ""


def note(text: str) -> str:
    """A paragraph that says why there is nothing to show."""
    return f"<p>{escape(text)}</p>"


LABEL_FIGURES = ("miou_labeled", "miou_as_background", "ignored_share", "precision", "recall")
"""What stands beside the mean IoU, in points of 100."""


def results_tables(evaluations: Sequence[Evaluated]) -> str:
    """Mean IoU of the steps that have classes, and the figures of saliency."""
    return _segmentation_table([e for e in evaluations if "miou" in e.summary]) + _saliency_table(
        [e for e in evaluations if "mae" in e.summary]
    )


def _segmentation_table(evaluations: Sequence[Evaluated]) -> str:
    rows = []
    for evaluated in evaluations:
        summary = evaluated.summary
        threshold = summary.get("best_threshold")
        rows.append(
            f"<tr><td>{escape(evaluated.title)}</td><td>{escape(evaluated.scores['split'])}</td>"
            f"{_number(str(evaluated.scores['images']))}{_number(points(summary['miou']), strong=True)}"
            f'<td class="bar"><span class="meter"><i style="width:{100 * summary["miou"]:.1f}%"></i></span></td>'
            + "".join(_number(points(summary.get(key))) for key in LABEL_FIGURES)
            + f"{_number('–' if threshold is None else f'{threshold:.2f}')}</tr>"
        )
    columns = ("step", "split", "#images", "#mIoU", "", "#labeled only", "#as background")
    return _table((*columns, "#ignored", "#precision", "#recall", "#best threshold"), rows)


def _saliency_table(evaluations: Sequence[Evaluated]) -> str:
    told = {"mae": "MAE", "s_measure": "S", "max_e": "max E", "mean_e": "mean E", "adaptive_e": "adaptive E"}
    told |= {"max_f": "max F", "mean_f": "mean F", "adaptive_f": "adaptive F", "weighted_f": "weighted F"}
    rows = []
    for e in evaluations:
        told_by = {"": e.title, "protocol_": f"{e.title}, by the co-saliency protocol"}
        rows += [
            f"<tr><td>{escape(title)}</td><td>{escape(e.scores['split'])}</td>{_number(str(e.scores['images']))}"
            + "".join(_number(_three_digits(e.summary.get(prefix + key))) for key in told)
            + "</tr>"
            for prefix, title in told_by.items()
            if f"{prefix}mae" in e.summary
        ]
    return _table(("saliency", "split", "#images", *(f"#{title}" for title in told.values())), rows)


def _three_digits(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"


def stages_table(steps: Sequence[Step]) -> str:
    """Every step with its artifact, its time and its own figures."""
    rows = [
        f"<tr><td>{escape(step.name)}</td><td><code>{escape(step.stage)}/{escape(str(step.manifest['key']))}</code></td>"
        f'{_number(duration(step.manifest["seconds"]))}<td class="wrap soft">{escape(_figures(step))}</td></tr>'
        for step in steps
    ]
    return _table(("step", "artifact", "#time", "figures"), rows)


def _figures(step: Step) -> str:
    told = {k: v for k, v in step.manifest.get("metrics", {}).items() if isinstance(v, int | float | str)}
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in list(told.items())[:6])


def class_changes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Pixels of each label value in two label sets; values that occur in neither are left out."""
    told = []
    for row in rows:
        if row["before"] or row["after"]:
            change = "–" if row["relative_change"] is None else f"{100 * row['relative_change']:+.1f} %"
            figures = (f"{row['before']:,}", f"{row['after']:,}", change, points(row["iou"]))
            told.append(f"<tr><td>{escape(row['class'])}</td>{''.join(map(_number, figures))}</tr>")
    return _table(("class", "#pixels before", "#pixels after", "#change", "#IoU of the two"), told)


def class_cards(classes: Sequence[str], series: Sequence[Evaluated], bars: Mapping[str, str]) -> str:
    """One card a class with its bars."""
    cards = "".join(
        f'<div class="card"><h3>{_swatch(number)}{escape(name)}</h3>{bars[name]}</div>'
        for number, name in enumerate(classes)
        if name in bars
    )
    return f'{legend([e.title for e in series])}<div class="grid-cards">{cards}</div>' if cards else ""


def chart_cards(charts: Mapping[str, str]) -> str:
    """Charts side by side, under their titles."""
    cards = "".join(f'<div class="card"><h3>{escape(name)}</h3>{svg}</div>' for name, svg in charts.items())
    return f'<div class="grid-charts">{cards}</div>' if cards else ""


def color_legend(classes: Sequence[str]) -> str:
    """The colors of the label maps; `classes` with the background first."""
    items = "".join(f"<li>{_swatch(number)}{escape(name)}</li>" for number, name in enumerate(classes))
    return f'<ul class="legend">{items}<li><span class="swatch ignored"></span>ignored</li></ul>'


def gallery(title: str, rows: Sequence[Row], classes: Sequence[str], side: int) -> str:
    """Images, one a row, under a heading; `classes` with the background first."""
    body = "".join(_row(row, classes, side) for row in rows)
    return f"<h3>{escape(title)}</h3>\n{body}" if rows else ""


def _row(row: Row, classes: Sequence[str], side: int) -> str:
    tags = "".join(f"<span>{_swatch(number)}{escape(classes[number])}</span>" for number in row.record.tags)
    score = "" if row.score is None else f"<b>mIoU {points(row.score)}</b>"
    pictures = "".join(_picture(picture, row.record.image_id, classes) for picture in row.pictures)
    columns = f"grid-template-columns:repeat({len(row.pictures)},minmax(84px,{side}px))"
    return (
        f'<div class="row"><header><code>{escape(row.record.image_id)}</code>{score}{tags}</header>'
        f'<div class="pictures" style="{columns}">{pictures}</div></div>\n'
    )


def _picture(picture: Picture, image_id: str, classes: Sequence[str]) -> str:
    told = escape(picture.title) + ("" if picture.score is None else f" · {points(picture.score)}")
    if picture.by_tag:
        maps = "".join(_map_of_tag(number, address, image_id, classes[number]) for number, address in picture.by_tag)
        several = " several" if len(picture.by_tag) > 1 else ""
        return f'<figure><div class="by-tag{several}">{maps}</div><figcaption>{told}</figcaption></figure>'
    if picture.address is None:
        return f'<figure><div class="none"></div><figcaption>{told} · not made</figcaption></figure>'
    alternative = escape(f"{picture.title} of {image_id}")
    return f'<figure><img src="{picture.address}" alt="{alternative}"><figcaption>{told}</figcaption></figure>'


def _map_of_tag(number: int, address: str, image_id: str, name: str) -> str:
    alternative = escape(f"map of {name} in {image_id}")
    return f'<div><img src="{address}" alt="{alternative}"><span>{_swatch(number)}{escape(name)}</span></div>'


def points(share: float | None) -> str:
    """A share in [0, 1] as points of 100."""
    return "–" if share is None else f"{100 * share:.1f}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table of finished rows; a column named with # holds numbers."""
    head = "".join(f'<th class="number">{c[1:]}</th>' if c.startswith("#") else f"<th>{c}</th>" for c in columns)
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
        if rows
        else ""
    )


def _number(text: str, *, strong: bool = False) -> str:
    return f'<td class="number">{f"<b>{escape(text)}</b>" if strong else escape(text)}</td>'


def _swatch(number: int) -> str:
    return f'<span class="swatch" style="background:{class_color(number)}"></span>'

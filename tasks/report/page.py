"""Pages of results from templates.  Whatever comes from data is escaped; no script, nothing from elsewhere."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tag2mask.tasks.report.pictures import class_color

HERE = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content policy of a page: the browser itself refuses whatever would be fetched or run."""


def render(template: str, **context: Any) -> str:
    """Fill a template with data.

    Args:
        template: name of a file in `templates`, without its ending.
        context: what the template shows; plain text is escaped, charts are `Markup`.

    Returns:
        The whole page.
    """
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(f"{template}.html.j2").render(policy=POLICY, style=style, **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": points,
        "digits": digits,
        "change": relative_change,
        "duration": duration,
        "class_color": class_color,
        "numeric_column": "#{}".format,
    }
    return environment


def points(share: float | None) -> str:
    """A share in [0, 1] as points of 100."""
    return "–" if share is None else f"{100 * share:.1f}"


def digits(figure: float | None, count: int) -> str:
    """A figure with so many digits behind the point."""
    return "–" if figure is None else f"{figure:.{count}f}"


def relative_change(share: float | None) -> str:
    """A relative change in per cent, with its sign."""
    return "–" if share is None else f"{100 * share:+.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

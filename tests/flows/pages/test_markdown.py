"""Names from data are text in Markdown: read back by a parser of Markdown, they are what they were."""

from typing import Any

import pytest
from markdown_it import MarkdownIt

from tag2mask.flows.pages.markdown import LINKED, code, one_line, table, text

EVIL = [
    "![t](http://evil.test/x.png)",
    "[x](javascript:alert(1))",
    "<img src=http://evil.test/i.png>",
    "<b>bold</b>",
    "http://evil.test/auto",
    "www.evil.test",
    "someone@evil.test",
    "a | b",
    "`code`",
    "``",
    "\\`",
    "\\",
    "**bold** _slant_ ~~struck~~",
    "# title",
    "- item",
    "1. item",
    "> quote",
    "a\n\n# b",
    "a\r\n| b |",
    "&lt;b&gt;",
    "[x]: http://evil.test",
    ":smile: $x$ ==y== ^z^",
    "$$x$$",
    "plain name",
    "übung 猫",
]
PARSER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
WANTED = {"text", "inline", "paragraph_open", "paragraph_close", "text_special"}


def tokens(markdown: str) -> list[Any]:
    """All tokens of a text, those within lines too."""
    found = []
    for token in PARSER.parse(markdown):
        found += [token, *(token.children or [])]
    return found


def shown(markdown: str) -> str:
    """What a reader sees of a line."""
    return "".join(token.content for token in tokens(markdown) if token.type in ("text", "code_inline"))


@pytest.mark.parametrize("name", EVIL)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    """A line made of a name is one paragraph that shows the name, addresses as code, of which nobody makes links."""
    found = tokens(text(name))
    assert {token.type for token in found} <= WANTED | {"code_inline"} and shown(text(name)) == one_line(name)
    assert not any(LINKED.search(token.content) for token in found if token.type == "text")


@pytest.mark.parametrize("name", EVIL)
def test_a_name_in_the_type_of_code_is_shown_as_it_is(name: str) -> None:
    """Code made of a name is one span with that name in it."""
    found = [token for token in tokens(code(name).replace("\\|", "|")) if token.type not in WANTED]
    assert [(token.type, token.content) for token in found] == [("code_inline", one_line(name))]


@pytest.mark.parametrize("name", EVIL)
def test_a_cell_stays_a_cell(name: str) -> None:
    """A table with the name in each of its cells has as many cells as it was given, and each shows the name."""
    found = tokens(table(["a", "b"], [[text(name), code(name)], ["1", "2"]], numbers=(1,)))
    kinds = [token.type for token in found]
    assert kinds.count("th_open") == 2 and kinds.count("td_open") == 4 and kinds.count("table_open") == 1
    assert not {"link_open", "image", "html_inline", "html_block", "strong_open", "em_open"} & set(kinds)
    cells = [found[number + 1].children for number, kind in enumerate(kinds) if kind == "td_open"]
    read = ["".join(part.content for part in cell if part.type in ("text", "code_inline")) for cell in cells]
    assert read[:2] == [one_line(name), one_line(name)]


def test_what_cannot_be_seen_is_left_out() -> None:
    """Line ends, control characters and turns of the writing direction become blanks."""
    assert one_line("a\tb\x1b[31m\u2028c\u202ed") == "a b [31m c d"


def test_numbers_are_rounded_and_nothing_is_a_dash() -> None:
    """A figure has four digits, and one that is missing is a dash."""
    assert (text(0.5), text(3), text(None)) == ("0.5000", "3", "–")

"""The page on reliability names tests that there are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_finding_names_a_test_that_there_is() -> None:
    """Each of the nineteen findings is held by a function of the file that the page names."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", page)
    assert len(named) == len(set(named)) == 19
    for file, name in named:
        functions = {
            node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{file}::{name}"

"""Shipped files, functions and folders stay small enough to be read at once."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SHIPPED = ("training/strokelabel", "monailabel_app", "slicer_extension")
MOST_LINES, MOST_FUNCTION_LINES, MOST_MODULES = 400, 60, 25


def modules() -> list[Path]:
    return [path for part in SHIPPED for path in sorted((REPOSITORY / part).rglob("*.py"))]


def too_long(source: str) -> list[str]:
    """Names of functions with too many lines."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MOST_FUNCTION_LINES
    ]


def test_no_file_is_over_400_lines_and_no_function_over_60() -> None:
    found = {}
    for path in modules():
        source = path.read_text(encoding="utf-8")
        long = too_long(source) + (["the file"] if len(source.splitlines()) > MOST_LINES else [])
        if long:
            found[str(path.relative_to(REPOSITORY))] = long
    assert found == {}


def test_no_folder_holds_more_than_25_modules() -> None:
    folders = Counter(path.parent.relative_to(REPOSITORY) for path in modules())
    assert {str(folder): count for folder, count in folders.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize(("lines", "expected"), [(60, []), (61, ["f"])])
def test_a_long_function_is_found(lines: int, expected: list[str]) -> None:
    assert too_long("def f():\n" + "    x = 1\n" * (lines - 1)) == expected

"""The prose of the repository: docstrings, comments, messages and pages use standard words."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("training", "monailabel_app", "slicer_extension", "sample-data")

BANNED = {
    "anew": "again",
    "aforesaid": "this",
    "as good as": "almost",
    "asked for": "requested",
    "be had": "is available",
    "comes? to lie": "lies",
    "fared?": "result, score",
    "goes on": "continues",
    "had back": "restored",
    "kept apart": "held out, separate",
    "lies elsewhere": "is at another position",
    "lately": "recently",
    "nobody": "no one, or the passive",
    "of one's own": "separate",
    "passed over": "skipped",
    "said so": "reported",
    "somebody": "a person, or the passive",
    "stands? or falls?": "succeeds or fails",
    "to and fro": "back and forth",
    "told? apart": "distinguished",
    "tells? apart": "distinguishes",
    "whoever": "the user, the caller",
    "wholly": "completely",
}
_PATTERN = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
_QUESTION = re.compile(r"(What|Whether|How|Where|Nothing|Who|Whoever|Nobody|Tells)\b")
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


def python_files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def pages() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.md"))]
    return [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *found]


_tree = lru_cache(maxsize=None)(ast.parse)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of docstrings, those of attributes too."""
    for node in ast.walk(_tree(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def messages(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of strings of several words; shorter ones may be names and values."""
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 1:
            yield node.lineno, node.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def banned_words(text: str) -> list[str]:
    """Banned words in the order of their places; code in backticks may use any."""
    return [word.lower() for word in _PATTERN.findall(" ".join(_CODE.sub(" ", text).split()))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_python_files_use_standard_words(folder: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {word}"
        for path in python_files()
        if path.is_relative_to(REPOSITORY / folder)
        for source in [path.read_text(encoding="utf-8")]
        for line, text in [*messages(source), *docstrings(source), *comments(source)]
        for word in banned_words(text)
    ]
    assert not found, f"use the standard words of BANNED in {__file__}:\n" + "\n".join(sorted(set(found)))


def test_pages_use_standard_words() -> None:
    found = [
        f"{page.relative_to(REPOSITORY)}: {w}" for page in pages() for w in banned_words(page.read_text())
    ]
    assert not found


def test_no_docstring_begins_with_a_question_word() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {text.split('.')[0]}"
        for path in python_files()
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if _QUESTION.match(text.strip())
    ]
    assert not found, 'begin with a verb ("Return …") or the thing ("Volume of …"):\n' + "\n".join(found)


def test_a_banned_word_is_found_across_lines_and_case_but_not_in_code() -> None:
    assert banned_words("It Stands\n or falls, and anew; `nobody`") == ["stands or falls", "anew"]

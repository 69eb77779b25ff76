"""Code blocks of Markdown files, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FOLDERS = ("monailabel_app", "sample-data", "slicer_extension", "training")
_FENCE = re.compile(r"^ *```(\w*)$")
_SEPARATORS = {";", "&&", "||", "|"}
_SHELL_WORDS = {"do", "then", "else"}
INDENTED = "indented"


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        file: path in the repository.
        line: number of its first line.
        language: what its fence says, "" for a plain fence, `INDENTED` for a block without one.
        text: its lines.
    """

    file: str
    line: int
    language: str
    text: str


def documents() -> list[Path]:
    """Return the Markdown files of the repository."""
    nested = (path for folder in _FOLDERS for path in (REPOSITORY / folder).rglob("*.md"))
    return sorted([*REPOSITORY.glob("*.md"), *nested])


def blocks() -> list[Block]:
    """Return all code blocks of all Markdown files, in their order."""
    return [block for path in documents() for block in blocks_of(path)]


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the code blocks of a file: fenced ones, and those indented by four blanks after an empty line."""
    name, language, first, before = str(path.relative_to(REPOSITORY)), None, 0, ""
    collected: list[str] = []
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], start=1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, first, collected = fence[1], number + 1, []
        elif language is None and line.startswith("    ") and not before.strip():
            language, first, collected = INDENTED, number, [line.strip()]
        elif (language == INDENTED and not line.startswith("    ")) or (language is not None and fence):
            yield Block(name, first, language, "\n".join(collected))
            language = None
        elif language is not None:
            collected.append(line.strip() if language == INDENTED else line)
        before = line
    assert language is None, f"{name}: the block of line {first} does not end"


def mentions(path: Path, programs: str) -> set[str]:
    """Return the commands that the prose of a file quotes, each on one line.

    Args:
        path: of a Markdown file.
        programs: a pattern of the programs' names.
    """
    prose = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {" ".join(span.split()) for span in re.findall(rf"`((?:{programs})\s[^`]+)`", prose)}


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell script, without comments, redirections and variables set before it."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                command.append(word)
                continue
            yield from _plain(command)
            command = []


def _plain(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] in _SHELL_WORDS or re.fullmatch(r"\w+=.*", words[0])):
        words = words[1:]
    cut = next((at for at, word in enumerate(words) if word in (">", ">>", "<")), len(words))
    if words[:cut]:
        yield words[:cut]

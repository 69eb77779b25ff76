"""Results of benchmarks in pages of the documentation, between two marks."""

from __future__ import annotations

from pathlib import Path

from strokelabel.io.atomic import atomic_write_text

_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"


def put_into_document(text: str, document: Path) -> None:
    """Replace what a document says between its two marks of results.

    Args:
        text: Markdown.
        document: the page.

    Raises:
        ValueError: the marks are not there.
    """
    before, mark, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, closing, after = rest.partition(_END)
    if not mark or not closing:
        raise ValueError(f"{document}: expected the lines {_BEGIN} and {_END}, found none")
    atomic_write_text(document, f"{before}{_BEGIN}\n{text}\n{_END}{after}")

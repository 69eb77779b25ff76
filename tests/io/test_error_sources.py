"""Errors of readers and writers carry what they are about as a field, so that a server can name it otherwise."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import strokelabel.errors
import strokelabel.io
from strokelabel.errors import HeaderError, StrokeLabelError, UnreadableImageError
from strokelabel.io import read_image


def test_the_text_of_an_error_begins_with_its_source() -> None:
    error = HeaderError("expected a header.", source=Path("scans") / "a.nii")

    assert str(error) == f"{Path('scans') / 'a.nii'}: expected a header."
    assert str(HeaderError("expected a header.")) == "expected a header."


def test_an_error_about_another_source_keeps_kind_message_and_cause() -> None:
    error = HeaderError("expected a header.", source="/srv/studies/a.nii")

    named = error.with_source("the uploaded file")

    assert type(named) is HeaderError
    assert str(named) == "the uploaded file: expected a header."
    assert str(error) == "/srv/studies/a.nii: expected a header."


def test_errors_come_back_whole_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(HeaderError("expected a header.", source="a.nii")))

    assert (error.source, error.message, str(error)) == (
        "a.nii",
        "expected a header.",
        "a.nii: expected a header.",
    )


@pytest.mark.parametrize("name", ["missing.nii.gz", "text.nii.gz", "text.txt", "mark.dcm", "folder"])
def test_no_message_of_a_reader_holds_the_path_beside_its_source(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "one.dcm").write_bytes(bytes(128) + b"DICM")
    elif not name.startswith("missing"):
        path.write_bytes(bytes(128) + b"DICM" if name.endswith(".dcm") else b"text")

    with pytest.raises(UnreadableImageError) as raised:
        read_image(path)

    assert raised.value.source == str(path / "one.dcm" if name == "folder" else path)
    assert str(tmp_path) not in raised.value.message


def test_no_error_of_the_readers_and_writers_puts_its_source_into_the_message() -> None:
    folder = Path(strokelabel.io.__file__).parent
    found = [
        f"{file.name}:{node.lineno}"
        for file in sorted(folder.glob("**/*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and _is_family(node.func)
        and node.args
        and _begins_with_name(node.args[0])
    ]

    assert found == []


def _is_family(called: ast.expr) -> bool:
    name = called.id if isinstance(called, ast.Name) else ""
    kind = getattr(strokelabel.errors, name, None)
    return isinstance(kind, type) and issubclass(kind, StrokeLabelError)


def _begins_with_name(message: ast.expr) -> bool:
    """Whether a message is f"{...}: ..."."""
    if not isinstance(message, ast.JoinedStr) or len(message.values) < 2:
        return False
    first, second = message.values[:2]
    return (
        isinstance(first, ast.FormattedValue)
        and isinstance(second, ast.Constant)
        and str(second.value).startswith(": ")
    )

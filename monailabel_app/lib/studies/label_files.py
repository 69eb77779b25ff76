"""Label files of requests: read as the package does, refused without the server's paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lib.refusals import InvalidRequestError
from strokelabel.errors import ImageError, LabelMapError
from strokelabel.geometry import Grid
from strokelabel.io import label_files
from strokelabel.io.label_files import LabelFile, Segment


def read_label_file(path: Path, names: Mapping[str, int] | None = None) -> LabelFile:
    """Read labels; see `strokelabel.io.label_files.read_label_file`.

    Raises:
        InvalidRequestError: not readable, not 3-D, or not whole numbers.
    """
    with _refused():
        return label_files.read_label_file(path, names)


def read_label_grid(path: Path) -> tuple[Grid, bool]:
    """Return the grid of a label file by its header alone, and whether it may cover a part of its scan only.

    Raises:
        InvalidRequestError: not a label file, or not 3-D.
    """
    with _refused():
        return label_files.read_label_grid(path)


def read_label_segments(path: Path) -> list[Segment]:
    """Return the segments that a label file names, by its header alone; [] for other files than NRRD.

    Raises:
        InvalidRequestError: not a label file.
    """
    with _refused():
        return label_files.read_label_segments(path)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except (LabelMapError, ImageError) as error:
        raise InvalidRequestError(error.message, source="the label file") from error

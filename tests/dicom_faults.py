"""A phantom of known volume as DICOM and NIfTI, and the faults that headers have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.tag import Tag

from support.dicom_writer import write_multi_frame, write_series

SHAPE = (12, 9, 6)
SPACING = (2.0, 3.0, 5.5)
COSINE, SINE = np.cos(0.3), np.sin(0.3)
AFFINE = np.array(
    [
        [-COSINE * 2.0, SINE * 3.0, 0, 12.5],
        [-SINE * 2.0, -COSINE * 3.0, 0, -33.25],
        [0, 0, 5.5, 47.125],
        [0, 0, 0, 1.0],
    ]
)
"""Oblique, right-handed as DICOM slices are sorted."""

VOLUME_ML = 5 * 3 * 3 * 2.0 * 3.0 * 5.5 / 1000


def phantom() -> np.ndarray:
    """Values 100 with a block of 400, (i, j, k) int16; even numbers, which a slope of 2 can hold."""
    data = np.full(SHAPE, 100, np.int16)
    data[2:7, 4:7, 1:4] = 400
    return data


def volume_ml(image) -> float:
    """The volume of the block: of what is far from the commonest value, whatever scale and sign the values have."""
    values, counts = np.unique(image.data, return_counts=True)
    distance = np.abs(image.data - values[counts.argmax()])
    return float((distance > distance.max() / 2).sum() * image.grid.voxel_volume_ml)


def write_slices(folder: Path) -> list[Path]:
    """The phantom as a series of single slices."""
    return _copies(folder, _made_once(_make_slices))


def write_frames(folder: Path) -> list[Path]:
    """The phantom as one enhanced file whose slices have slopes of their own."""
    return _copies(folder, _made_once(_make_frames))


@cache
def _made_once(make: Callable[[Path], list[Path]]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in make(Path(folder) / "series")}


def _copies(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def _make_slices(folder: Path) -> list[Path]:
    return write_series(folder, phantom(), AFFINE)


def _make_frames(folder: Path) -> list[Path]:
    folder.mkdir()
    path = folder / "enhanced"
    write_multi_frame(path, phantom(), AFFINE, [*range(SHAPE[2])])
    dataset = pydicom.dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, "<i2").reshape(SHAPE[2], SHAPE[1], SHAPE[0]).copy()
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        slope = 2.0 / (k + 1)
        item = pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, "-100", "US"
        groups.PixelValueTransformationSequence = [item]
        pixels[k] = pixels[k] * (k + 1)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    return [path]


def holders(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """The data set itself and the functional groups that hold an element."""
    found = [dataset] if keyword in dataset else []
    for element in dataset:
        if element.VR == "SQ":
            found += [holder for item in element.value for holder in holders(item, keyword)]
    return found


def set_raw(holder: pydicom.Dataset, keyword: str, content: bytes, vr: str | None = None) -> None:
    """Set an element to bytes as they stand in a file; pydicom does not look at them."""
    tag = Tag(keyword)
    content += b" " * (len(content) % 2)
    vr = vr or pydicom.datadict.dictionary_VR(tag)
    holder._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(content), content, 0, False, True)


def text_of(holder: pydicom.Dataset, keyword: str) -> str:
    """A decimal string as written."""
    value = holder[keyword].value
    values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    return "\\".join(str(v) for v in values)


def with_text(change: Callable[[str], str]) -> Callable[[pydicom.Dataset, str], None]:
    """A fault that rewrites a decimal string."""

    def fault(holder: pydicom.Dataset, keyword: str) -> None:
        set_raw(holder, keyword, change(text_of(holder, keyword)).encode())

    return fault


def remove(holder: pydicom.Dataset, keyword: str) -> None:
    """The fault of careless anonymising."""
    del holder[Tag(keyword)]


DECIMAL_FAULTS: dict[str, Callable[[pydicom.Dataset, str], None]] = {
    "removed": remove,
    "empty": lambda holder, keyword: set_raw(holder, keyword, b""),
    "blanks": lambda holder, keyword: set_raw(holder, keyword, b"    "),
    "zero": with_text(lambda text: "\\".join("0" for _ in text.split("\\"))),
    "first zero": with_text(lambda text: "\\".join(["0", *text.split("\\")[1:]])),
    "decimal commas": with_text(lambda text: text.replace(".", ",")),
    "comma for backslash": with_text(lambda text: text.replace("\\", ",")),
    "one value less": with_text(lambda text: text.rpartition("\\")[0]),
    "one value more": with_text(lambda text: text + "\\1"),
    "a word": with_text(lambda text: "UNDEFINED"),
    "not a number": with_text(lambda text: text.replace(text.split("\\")[0], "nan", 1)),
    "infinite": with_text(lambda text: text.replace(text.split("\\")[0], "1e400", 1)),
    "negative": with_text(lambda text: "\\".join(f"-{part}".replace("--", "") for part in text.split("\\"))),
    "underscore": with_text(lambda text: text.replace(text.split("\\")[0], "1_0", 1)),
}

NUMBER_FAULTS: dict[str, Callable[[pydicom.Dataset, str], None]] = {
    "removed": remove,
    "empty": lambda holder, keyword: set_raw(holder, keyword, b""),
    "zero": lambda holder, keyword: set_raw(holder, keyword, b"\0\0"),
    "one less": lambda holder, keyword: setattr(holder, keyword, max(0, int(holder[keyword].value) - 1)),
    "one more": lambda holder, keyword: setattr(holder, keyword, int(holder[keyword].value) + 1),
    "half": lambda holder, keyword: setattr(holder, keyword, int(holder[keyword].value) // 2),
    "twice": lambda holder, keyword: setattr(holder, keyword, int(holder[keyword].value) * 2),
    "two values": lambda holder, keyword: set_raw(holder, keyword, b"\1\0\1\0"),
}


def spoil(paths: Iterable[Path], keyword: str, fault: Callable[[pydicom.Dataset, str], None]) -> int:
    """Apply a fault to an element of files, in the data set or its groups; return how many elements it hit."""
    count = 0
    for path in paths:
        dataset = pydicom.dcmread(path)
        found = holders(dataset, keyword)
        for holder in found:
            fault(holder, keyword)
        dataset.save_as(path)
        count += len(found)
    return count

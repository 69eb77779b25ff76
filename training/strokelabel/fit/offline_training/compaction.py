"""Arrays made small for an archive: grey images as differences of neighbours, which xz packs better, or as WebP.

`python -m strokelabel.fit.offline_training.compaction FOLDER` undoes it for all files of a folder, once they are
unpacked. On 400 prepared axial slices (6.7 MB of pixels): xz alone 3.76 MB, differences and xz 3.44 MB, lossless WebP
3.42 MB, WebP of quality 93 1.93 MB (off by 1.0 of 255 on average), of quality 85 1.37 MB (1.7).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelabel.io.atomic import atomic_path

Arrays = Mapping[str, NDArray[Any]]

IMAGE = "image"
"""Name of the arrays that are compacted where they are uint8 with three axes; masks have other names."""

_DIFFERENCES, _WEBP, _SIZES = "image.differences", "image.webp", "image.sizes"
"""Names of what replaces an image: differences; or the bytes of all its slices as WebP files, and how many each has."""


def compact(arrays: Arrays, webp_quality: int | None = None) -> dict[str, NDArray[Any]]:
    """Replace a stack of grey images or a volume, slice by slice along its first axis.

    Args:
        arrays: by name; all but the image stay.
        webp_quality: of lossy WebP, 1 to 100, for which Pillow is needed; None for differences, which lose nothing.
    """
    image = arrays.get(IMAGE)
    if image is None or image.dtype != np.uint8 or image.ndim != 3:
        return dict(arrays)
    others = {name: values for name, values in arrays.items() if name != IMAGE}
    if webp_quality is None:
        along_rows = np.diff(image, axis=1, prepend=np.uint8(0))
        return {**others, _DIFFERENCES: np.diff(along_rows, axis=2, prepend=np.uint8(0))}
    files = [_to_webp(picture, webp_quality) for picture in image]
    sizes = np.array([len(file) for file in files])
    return {**others, _WEBP: np.frombuffer(b"".join(files), np.uint8), _SIZES: sizes}


def restore(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Undo `compact`; WebP but for what its quality lost."""
    kept = {name: values for name, values in arrays.items() if name not in (_DIFFERENCES, _WEBP, _SIZES)}
    if _DIFFERENCES in arrays:
        rows = np.cumsum(arrays[_DIFFERENCES], axis=2, dtype=np.uint8)
        kept[IMAGE] = np.cumsum(rows, axis=1, dtype=np.uint8)
    elif _WEBP in arrays:
        files = np.split(arrays[_WEBP], np.cumsum(arrays[_SIZES])[:-1])
        kept[IMAGE] = np.stack([_from_webp(file.tobytes()) for file in files])
    return kept


def compact_file(path: Path, webp_quality: int | None = None) -> bytes:
    """Return the content of an .npz file, compacted and not compressed: the archive compresses it."""
    buffer = io.BytesIO()
    np.savez(buffer, **compact(_load(path), webp_quality))
    return buffer.getvalue()


def restore_folder(folder: Path) -> None:
    """Restore every .npz file in a folder and below it; those that are not compacted stay as they are."""
    for path in sorted(folder.rglob("*.npz")):
        arrays = _load(path)
        if _DIFFERENCES in arrays or _WEBP in arrays:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **restore(arrays))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _to_webp(picture: NDArray[np.uint8], quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _from_webp(content: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.uint8)


if __name__ == "__main__":
    restore_folder(Path(sys.argv[1]))

"""Small phantoms, good and bad, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from support.bright_network import centred_affine, phantom, rotation

SHAPE = (34, 45, 18)

BIDS_SCAN = "sub-07_ses-2_T2w"
FLAT_SCAN = "scan of Zoë 1.2"
NESTED_SCAN = "patient-3_T1"
"""Ids of the good scans of the `studies` fixture."""


def oblique_affine() -> np.ndarray:
    """Anisotropic spacing (1.9, 1.6, 3.4) mm, axes PSL, turned by 11 degrees; the origin is in the middle."""
    axes = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    return centred_affine(rotation((11, 0, 4)) @ axes @ np.diag([1.9, 1.6, 3.4]), SHAPE)


def head(seed: int = 0, shape: tuple[int, int, int] = SHAPE, affine: np.ndarray | None = None) -> np.ndarray:
    """A head with one lesion, (i, j, k); another seed is another place of the lesion."""
    return _head_and_lesion(seed, shape, affine)[0]


def healthy_head() -> np.ndarray:
    """A head without a lesion, (i, j, k): there is none to lose, so an adaptation to it takes all its iterations."""
    return phantom(SHAPE, oblique_affine(), (0.0, 0.0, 0.0), radius_mm=0.1)[0].data


def lesion(seed: int = 0) -> np.ndarray:
    """The lesion of `head(seed)`, as booleans (i, j, k)."""
    return _head_and_lesion(seed, SHAPE, None)[1]


def _head_and_lesion(
    seed: int, shape: tuple[int, int, int], affine: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.random.default_rng(seed).uniform(-8, 8, 3)
    image, ball = phantom(shape, oblique_affine() if affine is None else affine, (x, y, z))
    return image.data, ball


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, oblique_affine() if affine is None else affine)
    image.header.set_sform(image.affine, code=2)
    image.header.set_qform(image.affine, code=1)
    nib.save(image, path)
    return path


def _corrupt(path: Path) -> None:
    path.write_bytes(np.random.default_rng(3).bytes(3000))


def _truncated(path: Path) -> None:
    save(path, head())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _text(path: Path) -> None:
    path.write_text("not an image\n")


def _rgb(path: Path) -> None:
    colours = np.zeros((9, 8, 7), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = np.arange(7)
    nib.save(nib.Nifti1Image(colours, np.eye(4)), path)


def _with_nan(path: Path) -> None:
    data = head()
    data[3:5, 4, 5] = np.nan
    save(path, data)


BAD_SCANS: dict[str, Callable[[Path], object]] = {
    "corrupt": _corrupt,
    "truncated": _truncated,
    "text": _text,
    "empty-file": lambda path: path.write_bytes(b""),
    "four-dimensional": lambda path: save(path, np.stack([head(0), head(1)], axis=-1)),
    "rgb": _rgb,
    "two-dimensional": lambda path: save(path, head()[:, :, 9]),
    "nan": _with_nan,
    "constant": lambda path: save(path, np.full(SHAPE, 7, np.float32)),
    "all-zero": lambda path: save(path, np.zeros(SHAPE, np.int16)),
}
"""Name of each bad scan, and what writes it to a path."""

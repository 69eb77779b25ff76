"""Painting that keeps to intensities, and a mask that remembers what was painted when the threshold changes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ..errors import OperationError


def usual_intensities(image: np.ndarray, mask: np.ndarray, share: float = 0.9) -> tuple[float, float]:
    """Return the range that holds the middle `share` of the image's values inside a mask.

    Raises:
        OperationError: nothing is painted, or a share outside 0 to 1.
    """
    if not mask.any():
        raise OperationError("Paint something first: the range of brightness is taken from it.")
    if not 0 < share <= 1:
        raise OperationError(f"Expected a share above 0 and up to 1, found {share}.")
    tail = 50 * (1 - share)
    low, high = np.percentile(image[mask], (tail, 100 - tail))
    return float(low), float(high)


def limit_to_intensities(
    before: np.ndarray, after: np.ndarray, image: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Keep only those added voxels whose value is within a range; erased voxels stay erased.

    Args:
        before, after: booleans (i, j, k).
        image: (i, j, k).
        low, high: the range, both ends included.
    """
    return after & (before | ((image >= low) & (image <= high)))


@dataclass(frozen=True, eq=False)
class LesionMask:
    """Mask of a model or a stored label, and the annotator's additions and removals since.

    Attributes:
        base: booleans (i, j, k).
        added, removed: booleans (i, j, k); never both.
    """

    base: np.ndarray
    added: np.ndarray
    removed: np.ndarray

    @classmethod
    def of(cls, base: np.ndarray) -> LesionMask:
        """Return a mask without strokes."""
        base = np.asarray(base, bool)
        return cls(base, np.zeros_like(base), np.zeros_like(base))

    @property
    def current(self) -> np.ndarray:
        """Mask with the strokes: booleans (i, j, k)."""
        return (self.base | self.added) & ~self.removed

    def edited(self, after: np.ndarray) -> LesionMask:
        """Return the same base with strokes such that the mask is `after`."""
        after = np.asarray(after, bool)
        if after.shape != self.base.shape:
            raise OperationError(f"Expected a mask of {self.base.shape} voxels, found {after.shape}.")
        changed = after != self.current
        return LesionMask(
            self.base, np.where(changed, after, self.added), np.where(changed, ~after, self.removed)
        )

    def with_base(self, base: np.ndarray) -> LesionMask:
        """Return the same strokes on another base: painted and erased voxels are kept."""
        return LesionMask(np.asarray(base, bool), self.added, self.removed)

    def at_threshold(self, probability: np.ndarray, threshold: float) -> LesionMask:
        """Return the same strokes over the voxels whose probability is at least `threshold`.

        Raises:
            OperationError: a threshold outside 0 to 1.
        """
        if not 0 < threshold <= 1:
            raise OperationError(f"Expected a threshold above 0 and up to 1, found {threshold}.")
        return self.with_base(probability >= threshold)

    @property
    def has_strokes(self) -> bool:
        """True if anything was added or removed."""
        return bool(self.added.any() or self.removed.any())


@dataclass(frozen=True)
class PackedMask:
    """A `LesionMask` in a few kilobytes."""

    shape: tuple[int, ...]
    parts: tuple[bytes, bytes, bytes]

    @classmethod
    def pack(cls, mask: LesionMask) -> PackedMask:
        """Pack eight voxels to the byte, then deflate: masks are mostly zero."""
        base, added, removed = (
            zlib.compress(np.packbits(a).tobytes(), 1) for a in (mask.base, mask.added, mask.removed)
        )
        return cls(mask.base.shape, (base, added, removed))

    def unpack(self) -> LesionMask:
        """Unpack the mask, exactly as it was."""
        count = int(np.prod(self.shape))
        bits = (np.frombuffer(zlib.decompress(part), np.uint8) for part in self.parts)
        base, added, removed = (np.unpackbits(b, count=count).astype(bool).reshape(self.shape) for b in bits)
        return LesionMask(base, added, removed)

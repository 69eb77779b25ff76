"""Core-set selection: scans that lie far from everything that is labelled.

The greedy rule for the k-center problem (Gonzalez 1985), as Sener and Savarese (2018, "Active learning for
convolutional neural networks: a core-set approach") use it: choose what lies farthest from the nearest chosen one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree


def distances_to_labelled(candidates: ArrayLike, labelled: ArrayLike) -> NDArray[np.float64]:
    """Return the distance of each candidate from the nearest labelled scan; features count alike.

    Args:
        candidates: (scans, features).
        labelled: (scans, features); may be empty: then the distances are such that the most central candidate is
            first, since nothing is known yet and the typical scan teaches most.

    Returns:
        (scans,) Euclidean distances in standard deviations of the features; for no labelled scans, minus the distance
        to the mean.
    """
    wanted = _matrix(candidates)
    known = _matrix(labelled)
    if not len(wanted):
        return np.zeros(0)
    everything = np.concatenate([wanted, known]) if len(known) else wanted
    deviation = everything.std(axis=0)
    scale = np.where(deviation > 1e-6, deviation, np.inf)
    if not len(known):
        result: NDArray[np.float64] = -np.linalg.norm((wanted - wanted.mean(axis=0)) / scale, axis=1)
        return result
    nearest: NDArray[np.float64] = KDTree(known / scale).query(wanted / scale)[0]
    return nearest


def farthest_first(candidates: ArrayLike, labelled: ArrayLike, count: int) -> list[int]:
    """Choose several scans, one after the other, each far from the labelled and from those chosen before.

    Args:
        candidates: (scans, features).
        labelled: (scans, features); may be empty.
        count: how many; all candidates where there are fewer.

    Returns:
        Their positions among the candidates, in the order of their choice.
    """
    wanted, known = _matrix(candidates), _matrix(labelled)
    chosen: list[int] = []
    while len(chosen) < min(count, len(wanted)):
        taken = wanted[chosen]
        distance = distances_to_labelled(wanted, np.concatenate([known, taken]) if len(known) else taken)
        distance[chosen] = -np.inf
        chosen.append(int(distance.argmax()))
    return chosen


def _matrix(rows: ArrayLike) -> NDArray[np.float64]:
    """Return the rows as a matrix, also when there are none."""
    array = np.asarray(rows, dtype=np.float64)
    return array if array.ndim == 2 else array.reshape(0, 0) if not array.size else array[None]

"""Cross-validation of networks that can be stopped and continued: a file of predictions for each network and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path
from strokelabel.outcome.networks.pictures import Pictures
from strokelabel.outcome.networks.specs import NETWORKS, NetworkSpec
from strokelabel.outcome.networks.training import fit_network

_VERSION: Final = 1
"""Of the way that folds are made and networks trained; predictions of another version are not taken up again."""


def find_networks(pictures: Pictures, most_seeds: int) -> tuple[NetworkSpec, ...]:
    """Return the networks whose pictures are there, with no more seeds than given."""
    return tuple(
        replace(spec, most_seeds=min(spec.most_seeds, most_seeds))
        for spec in NETWORKS
        if spec.picture in pictures.kinds
    )


def run_count(specs: Sequence[NetworkSpec], folds: NDArray[np.intp]) -> int:
    """Return the number of trainings that `cross_validate_networks` takes."""
    return sum(min(spec.most_seeds, len(folds)) for spec in specs) * (int(folds.max()) + 1)


def cross_validate_networks(
    specs: Sequence[NetworkSpec],
    pictures: Pictures,
    positive: NDArray[np.bool_],
    folds: NDArray[np.intp],
    folder: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, NDArray[np.float64]]:
    """Predict each patient by networks that were trained on the other folds.

    All networks of a seed come before the next seed, so that what is there after a stop compares them.

    Args:
        specs: of the networks.
        pictures: of all patients.
        positive: (patients,).
        folds: (seeds, patients).
        folder: for predictions of single seeds; those that are there already, of the same patients, pictures and
            settings, are not made again.
        on_progress: called with the number of trainings that are done.

    Returns:
        Name -> (seeds, patients) probabilities; NaN in seeds that a network does not have.

    Raises:
        DataError: a training set is too small.
        OutputError: predictions cannot be written.
    """
    predicted = {spec.name: np.full(folds.shape, np.nan) for spec in specs}
    keys = {spec.name: _key(spec, pictures, positive) for spec in specs}
    done, count = 0, int(folds.max()) + 1
    for seed, of_seed in enumerate(folds):
        for spec in specs:
            if seed >= spec.most_seeds:
                continue
            path = folder / f"{spec.slug}_seed-{seed:02d}_{keys[spec.name][:12]}.npy"
            found = _read(path, len(positive))
            if found is None:
                found = _predict_folds(spec, pictures, positive, of_seed, seed)
                _write(path, found)
            predicted[spec.name][seed] = found
            done += count
            on_progress(done)
    return predicted


def _predict_folds(
    spec: NetworkSpec,
    pictures: Pictures,
    positive: NDArray[np.bool_],
    folds: NDArray[np.intp],
    seed: int,
) -> NDArray[np.float64]:
    """Return the out-of-fold probability of each patient."""
    seen, predicted = pictures.kinds[spec.picture], np.empty(len(positive))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        fitted = fit_network(
            spec.build, seen[train], pictures.facts[train], positive[train], spec.schedule, seed
        )
        predicted[test] = fitted.predict(seen[test], pictures.facts[test])
    return predicted


def _key(spec: NetworkSpec, pictures: Pictures, positive: NDArray[np.bool_]) -> str:
    """Return a digest of all that predictions depend on, but the seed and the program."""
    digest = hashlib.sha256(f"{_VERSION} {spec.name} {spec.schedule} torch {torch.__version__}".encode())
    for array in (pictures.kinds[spec.picture], pictures.facts, positive):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update("\n".join(pictures.ids).encode())
    return digest.hexdigest()


def _read(path: Path, count: int) -> NDArray[np.float64] | None:
    """Return stored predictions, or None where there are none."""
    if not path.is_file():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"expected predictions of networks, which cannot be read ({error}); delete the file", source=path
        ) from error
    if found.shape != (count,) or not np.isfinite(found).all():
        raise DataError(f"expected {count} probabilities, found {found.shape}; delete the file", source=path)
    return np.asarray(found, dtype=np.float64)


def _write(path: Path, values: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)

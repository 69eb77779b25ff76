"""Predictors of an outcome: columns in named blocks, from lesions and clinical facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError, OptionError
from strokelabel.outcome.loads import LesionLoads, StructureMap, coarse_loads, read_loads
from strokelabel.outcome.patients import Patient

BLOCKS: Final = (
    "volume", "size", "age", "fractions", "root fractions", "tissues", "structures", "voxels", "root voxels",
)  # fmt: skip
"""Blocks of columns.

volume: ml. size: its logarithm and root. age: years. fractions: of the 31 arterial regions; root fractions: their
square roots, which separate a small injury from none. tissues: ml of `loads.TISSUES`, their roots, and shares of side,
white matter and infratentorial lesion. structures: fraction of each structure, and its root. voxels: smoothed load of
each coarse cell; root voxels: their square roots.
"""

COMMON_UNIT: Final = frozenset({"voxels", "root voxels"})
"""Blocks whose columns keep their variances relative to one another."""

_VOLUME_TOLERANCE: Final = 0.02
"""Relative difference that the volume of the table and that of the mask may have."""

_TINY_ML: Final = 0.1


@dataclass(frozen=True, eq=False)
class Predictors:
    """Columns in blocks.

    Attributes:
        blocks: name of `BLOCKS` -> (patients, columns).
    """

    blocks: Mapping[str, NDArray[np.floating]]

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))

    def has(self, names: Sequence[str]) -> bool:
        """Return whether all these blocks are there."""
        return set(names) <= self.blocks.keys()

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the columns of some blocks side by side, (patients, columns).

        Raises:
            OptionError: a block is not there.
        """
        missing = [name for name in names if name not in self.blocks]
        if missing:
            raise OptionError(
                f"expected predictors {', '.join(names)}, found none of {', '.join(missing)}; choose another model, "
                "or give the data that these need"
            )
        return np.concatenate([self.blocks[name] for name in names], axis=1).astype(np.float64)

    def widths(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the number of columns of some blocks."""
        return tuple(self.blocks[name].shape[1] for name in names)

    def take(self, index: NDArray[np.intp]) -> Predictors:
        """Return the predictors of some patients."""
        return Predictors({name: block[index] for name, block in self.blocks.items()})


@dataclass(frozen=True, eq=False)
class Cohort:
    """Patients with what was measured of their lesions.

    Attributes:
        patients: in the order of the table.
        loads: of their masks.
    """

    patients: tuple[Patient, ...]
    loads: tuple[LesionLoads, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the patients."""
        return tuple(patient.id for patient in self.patients)

    @property
    def values(self) -> NDArray[np.float64]:
        """Outcome of each patient."""
        return np.array([patient.value for patient in self.patients])

    @property
    def cells(self) -> NDArray[np.uint8]:
        """Fine cells of each lesion, (patients, cells)."""
        return np.stack([one.cells for one in self.loads])

    @property
    def ages(self) -> NDArray[np.float64] | None:
        """Age of each patient, years; None where the table has none."""
        ages = [patient.age for patient in self.patients]
        return None if None in ages else np.array(ages, dtype=np.float64)

    @property
    def arteries(self) -> NDArray[np.float64] | None:
        """Fractions of the arterial regions, (patients, 31); None where the table has none."""
        found = [patient.arteries for patient in self.patients if patient.arteries is not None]
        return np.stack(found) if len(found) == len(self.patients) else None

    def take(self, index: NDArray[np.intp]) -> Cohort:
        """Return some of the patients."""
        return Cohort(tuple(self.patients[i] for i in index), tuple(self.loads[i] for i in index))

    def predictors(self) -> Predictors:
        """Return all predictors that the table and the masks give."""
        return make_predictors(self.loads, self.ages, self.arteries)


def measure(
    patients: Sequence[Patient],
    structures: StructureMap | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Cohort:
    """Read and measure the masks of patients.

    Args:
        patients: of a table.
        structures: to measure too.
        on_progress: called with the number of masks that are done.

    Raises:
        ImageError, LabelMapError: a mask cannot be read, is empty or is not in ICBM space.
        DataError: the table gives another volume than the mask has.
    """
    loads = []
    for done, patient in enumerate(patients, start=1):
        loads.append(read_loads(patient.mask, structures))
        _check_volume(patient, loads[-1])
        on_progress(done)
    return Cohort(tuple(patients), tuple(loads))


def _check_volume(patient: Patient, loads: LesionLoads) -> None:
    if patient.ml is not None and abs(loads.ml - patient.ml) > _VOLUME_TOLERANCE * patient.ml + 0.01:
        raise DataError(
            f"expected a lesion of {patient.ml:.2f} ml, as the table says, found {loads.ml:.2f} ml; the mask is of "
            "another patient or another space, or the table's volumes are not mm³",
            source=patient.mask,
        )


def make_predictors(
    loads: Sequence[LesionLoads],
    ages: NDArray[np.float64] | None = None,
    arteries: NDArray[np.float64] | None = None,
) -> Predictors:
    """Return the predictors of patients.

    Args:
        loads: of each patient's lesion.
        ages: (patients,) years, where known.
        arteries: (patients, 31) fractions of the arterial regions, where known.
    """
    ml = np.array([[one.ml] for one in loads])
    blocks: dict[str, NDArray[np.floating]] = {
        "volume": ml,
        "size": np.hstack([np.log(ml + _TINY_ML), np.sqrt(ml)]),
        "tissues": _tissues(np.stack([one.tissue_ml for one in loads]), ml),
        "voxels": coarse_loads(np.stack([one.cells for one in loads])),
    }
    blocks["root voxels"] = np.sqrt(blocks["voxels"])
    structures = np.stack([one.structures for one in loads])
    if structures.size:
        blocks["structures"] = np.hstack([structures, np.sqrt(structures)])
    if ages is not None:
        blocks["age"] = ages[:, None]
    if arteries is not None:
        blocks["fractions"], blocks["root fractions"] = arteries, np.sqrt(arteries)
    return Predictors(blocks)


def _tissues(tissue_ml: NDArray[np.float64], ml: NDArray[np.float64]) -> NDArray[np.float64]:
    left, right, low = tissue_ml[:, 4:5], tissue_ml[:, 5:6], tissue_ml[:, 6:7]
    brain = tissue_ml[:, :4].sum(axis=1, keepdims=True)
    white = tissue_ml[:, 2:4].sum(axis=1, keepdims=True) / (brain + 0.01)
    return np.hstack([tissue_ml, np.sqrt(tissue_ml), (left - right) / ml, low / ml, white])

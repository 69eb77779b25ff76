"""Tables of the structures that lesions touch: one beside each mask, and one row per scan for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from strokelabel.errors import WeightsError
from strokelabel.inference.batch import ScanTable
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import (
    Parcellation,
    Parcellator,
    has_own_structures,
    structures_of_model,
)
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.io import Image, atomic_write_json, atomic_write_text
from strokelabel.metrics.lesion_structures import REGIONS, SIDES, LesionStructures, lesion_structures
from strokelabel.registry import ModelSpec, find_structures_model
from strokelabel.structures import LESION
from strokelabel.types import Mask

OUTSIDE: Final = "outside all structures"
"""Name of the row of lesion voxels that lie in no structure."""

KEY: Final = "lesion_structures"
"""Key of a mask's sidecar that holds the table and what made it."""

_SUMS = ("lesion_ml", "intracranial_ml", "lesion_percent_of_intracranial")
_COLUMNS = (
    "source",
    "mask",
    *_SUMS,
    *(f"{name}_ml" for name in (*SIDES, *REGIONS, "outside")),
    "notes",
)

_DESCRIBED_COLUMNS: Final = {
    "structure": {
        "Description": f"Structure that the lesion touches; '{OUTSIDE}' for the rest of the lesion"
    },
    "side": {"Description": "The patient's side: left, right or midline"},
    "region": {"Description": ", ".join(REGIONS)},
    "lesion_ml": {"Description": "Volume of the lesion in the structure", "Units": "mL"},
    "structure_ml": {
        "Description": "Volume of the structure; n/a where the scan cuts it off",
        "Units": "mL",
    },
    "lesion_percent_of_structure": {
        "Description": "Lesion in the structure, of the structure's volume",
        "Units": "%",
    },
}


def check_sees_through_lesions(spec: ModelSpec) -> None:
    """Refuse a parcellation that has a class for lesions: it does not say what lies beneath them.

    Raises:
        WeightsError: such a model, or one of other organs.
    """
    if has_own_structures(spec):
        raise WeightsError(
            f"{spec.path}: expected a parcellation of the brain, this one has structures of its own; use one that was "
            "trained on FreeSurfer's labels"
        )
    if LESION.id in spec.class_ids:
        raise WeightsError(
            f"{spec.path}: expected a parcellation that labels lesions as the structure beneath them, this "
            "one has a class for lesions; use one that was trained with `lesion_target: underlying`"
        )


def load_parcellator(model: str | None, device: str, options: PredictionOptions) -> Parcellator | None:
    """Load the model that finds the structures that lesions touch.

    Args:
        model: see `strokelabel.registry.find_structures_model`.
        device: "auto", "cpu", "cuda" or "cuda:1".
        options: of the prediction.

    Returns:
        None for no such tables.

    Raises:
        UnknownModelError, WeightsError, OptionError: it cannot be loaded.
    """
    spec = find_structures_model(model)
    return None if spec is None else Parcellator.from_model(spec.path, device, options)


def find_lesion_structures(
    parcellator: Parcellator, prediction: Prediction, image: Image, progress: OnProgress | None = None
) -> LesionStructures:
    """Return the structures that a predicted lesion touches, by a parcellation of the same scan.

    Raises:
        ImageError: the scan cannot be used; see `strokelabel.errors`.
    """
    return structures_of_lesion(prediction.lesion_mask, parcellator.parcellate(image, progress), image)


def structures_of_lesion(lesion: Mask, found: Parcellation, image: Image) -> LesionStructures:
    """Return the structures that a lesion touches, with the intracranial volume that the parcellation says.

    Args:
        lesion: (i, j, k).
        found: the parcellation of the same scan.
        image: the scan.
    """
    structures = structures_of_model(found.spec)
    return lesion_structures(lesion, found.labels, structures, image.grid, found.intracranial_ml)


class MaskTable(Protocol):
    """Table about the lesions of a folder of results.

    Attributes:
        key: of a mask's sidecar, under which lies what is known of the lesion and what made it; lines for users are its
            `text`.
        table: of all scans.
    """

    key: str
    table: ScanTable

    def write(
        self, prediction: Prediction, image: Image, names: ResultNames, progress: OnProgress
    ) -> dict[str, Any]:
        """Write what belongs to one scan; return what its mask's sidecar says of it, `{key: …}`."""
        ...

    def known(self, source: str, names: ResultNames, sidecar: dict[str, Any]) -> bool:
        """Return whether a mask that is kept has it already, made alike; the scan's row is written too then."""
        ...


class StructureTables:
    """Tables of a folder of results.

    Attributes:
        table: of all scans.

    Args:
        parcellator: finds the structures.
        folder: where masks and tables go.
        name: of the table of all scans.

    Raises:
        WeightsError: the model has a class for lesions.
        OutputError: the folder's table is something else.
    """

    key = KEY

    def __init__(self, parcellator: Parcellator, folder: Path, name: str) -> None:
        check_sees_through_lesions(parcellator.spec)
        self._parcellator = parcellator
        self._folder = folder
        self.table = ScanTable(folder, name, _COLUMNS)

    def write(
        self, prediction: Prediction, image: Image, names: ResultNames, progress: OnProgress
    ) -> dict[str, Any]:
        """Write the table of one scan and its row; return what its mask's sidecar says of it.

        Raises:
            ImageError: the scan cannot be used.
            OutputError: a file cannot be written.
        """

        def told(_: str, fraction: float) -> None:
            progress("finding structures", fraction)

        found = find_lesion_structures(self._parcellator, prediction, image, told)
        path = self._folder / names.lesion_structures
        atomic_write_json(path.with_suffix(".json"), {"Sources": [image.source], **_DESCRIBED_COLUMNS})
        atomic_write_text(path, structure_table(found))
        described = {**self._made_by(), **found.as_json()}
        self._add_row(image.source, names, described)
        return {KEY: described}

    def known(self, source: str, names: ResultNames, sidecar: dict[str, Any]) -> bool:
        """Return whether the table of a mask that is kept is there already, made by the same model; its row too then.

        Args:
            source: absolute path of the scan.
            names: of its files.
            sidecar: of the mask.
        """
        described = sidecar.get(KEY, {})
        made_alike = self._made_by().items() <= described.items()
        if not made_alike or not (self._folder / names.lesion_structures).exists():
            return False
        self._add_row(source, names, described)
        return True

    def _made_by(self) -> dict[str, Any]:
        spec = self._parcellator.spec
        return {"model": spec.name, "model_version": spec.version, "weights_sha256": spec.sha256}

    def _add_row(self, source: str, names: ResultNames, described: dict[str, Any]) -> None:
        parts = {**described["side_ml"], **described["region_ml"], "outside": described["outside_ml"]}
        numbers = {name: described[name] for name in _SUMS} | {f"{name}_ml": ml for name, ml in parts.items()}
        cells = {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}
        notes = "; ".join(described["notes"])
        self.table.add({"source": source, "mask": names.mask, **cells, "notes": notes})


def described_lesion(tables: Sequence[MaskTable], sidecar: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the lines for users in a mask's sidecar: about an adaptation, then those of tables."""
    told = sidecar.get("adaptation")
    kept = [] if told is None else [f"{told['method']}: kept the {told['kept']} prediction, {told['reason']}"]
    return (*kept, *(line for table in tables for line in sidecar.get(table.key, {}).get("text", ())))


def structure_table(found: LesionStructures) -> str:
    """Return the table of one lesion, tab-separated: a row per structure, most ml first; what is unknown is n/a."""
    described = found.as_json()
    rows = [[_cell(value) for value in one.values()] for one in described["structures"]]
    if found.outside_ml:
        rows.append([OUTSIDE, "n/a", "n/a", _cell(described["outside_ml"]), "n/a", "n/a"])
    return "\n".join("\t".join(row) for row in [list(_DESCRIBED_COLUMNS), *rows]) + "\n"


def _cell(value: str | float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4f}" if isinstance(value, float) else value

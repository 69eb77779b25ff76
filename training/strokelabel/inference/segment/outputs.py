"""Writing a prediction's files: mask, maps, and a sidecar with their provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from strokelabel import __version__
from strokelabel.errors import ImageError, OutputError, UnreadableImageError
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.provenance import provenance, write_description
from strokelabel.inference.segment.scores import Prediction
from strokelabel.io import Image, atomic_path, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.bids import sidecar_path
from strokelabel.io.file_kinds import is_dicom_file
from strokelabel.labels import CLASS_COLORS

_BIDS_INDEX = {"background": 0, "gray matter": 1, "white matter": 2, "cerebrospinal fluid": 3, "lesion": 7}
"""BIDS's common numbers of image-derived labels; partial volume has none."""


@dataclass(frozen=True)
class OutputChoice:
    """Maps to write beside the mask.

    Attributes:
        probabilities: the lesion's probability, 3-D; with `tissues`, those of all classes too, 4-D.
        tissues: the most likely class of each voxel, with a table of the classes.
        dicom_seg: the lesion, and with `probabilities` its probability, as DICOM SEG of the scan's DICOM series.
    """

    probabilities: bool = False
    tissues: bool = False
    dicom_seg: bool = False

    def names(self, names: ResultNames) -> list[str]:
        """Return the image files of one scan; a scan is done when all of them exist."""
        chosen = [names.dicom_seg] if self.dicom_seg else []
        chosen += [names.probability_seg] if self.dicom_seg and self.probabilities else []
        chosen += [names.tissues] if self.tissues else []
        chosen += [names.probability] if self.probabilities else []
        chosen += [names.tissue_probabilities] if self.probabilities and self.tissues else []
        return [*chosen, names.mask]


def write_outputs(
    prediction: Prediction, image: Image, folder: Path, names: ResultNames, choice: OutputChoice
) -> tuple[str, ...]:
    """Write the files of one scan, each atomically: NIfTI first, so that a DICOM SEG that fails costs no mask.

    Args:
        prediction: on the grid of `image`.
        image: the scan, whose geometry the files take.
        folder: where to.
        names: of the files.
        choice: which of them.

    Returns:
        Notes on what a DICOM SEG could not take over from the scan.

    Raises:
        OutputError: a file cannot be written; of a DICOM SEG, the message says that the mask was.
        UnreadableImageError: a DICOM SEG is requested, and the scan is no DICOM series.
    """
    scan = Path(image.source)
    if choice.dicom_seg and not scan.is_dir() and not is_dicom_file(scan):
        raise UnreadableImageError(
            "expected a folder of DICOM files, to which a DICOM SEG can refer, found a file; "
            "leave out --dicom-seg.",
            source=scan,
        )
    about = f"StrokeLabel {__version__} {prediction.spec.name} {prediction.spec.version}"
    if choice.tissues:
        write_nifti(folder / names.tissues, prediction.labels, image, np.uint8, about)
        atomic_write_text(folder / "dseg.tsv", class_table(prediction.spec.class_names))
    if choice.probabilities:
        write_nifti(folder / names.probability, prediction.lesion_probability, image, np.float32, about)
    if choice.probabilities and choice.tissues and prediction.probabilities is not None:
        _write_channels(folder / names.tissue_probabilities, prediction.probabilities, folder / names.tissues)
        label_map = {"LabelMap": list(prediction.spec.class_names), "Sources": [image.source]}
        atomic_write_json(sidecar_path(folder / names.tissue_probabilities), label_map)
    if names.is_bids:
        write_description(folder, prediction.spec)
    atomic_write_json(sidecar_path(folder / names.mask), sidecar(prediction, image.source))
    write_nifti(folder / names.mask, prediction.lesion_mask, image, np.uint8, about)
    if not choice.dicom_seg:
        return ()
    try:
        return _write_dicom_seg(prediction, scan, folder, names, choice)
    except (OutputError, ImageError) as error:
        raise OutputError(f"no DICOM SEG, only {names.mask}: {error}") from error


def sidecar(prediction: Prediction, source: str) -> dict[str, Any]:
    """Return the sidecar of a mask: BIDS's keys, and ours in lower case.

    Args:
        prediction: whose mask it is.
        source: path of the scan.
    """
    threshold = prediction.options.threshold
    return {
        "Type": "Lesion",
        "Manual": False,
        "Description": "Stroke lesion, predicted; for research only",
        "Sources": [source],
        "SpatialReference": "orig",
        **provenance(prediction.spec, prediction.options),
        "threshold": "likeliest class" if threshold is None else threshold,
        "volume_ml": prediction.volume_ml,
        "lesion_count": prediction.lesion_count,
        "largest_lesion_ml": float(max(prediction.lesion_volumes_ml, default=0.0)),
        "outside_brain_ml": prediction.outside_brain_ml,
        "seconds": round(prediction.seconds, 3),
        "notes": list(prediction.notes),
        **prediction.record,
    }


def class_table(class_names: tuple[str, ...]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name, mapping and colour."""
    lines = ["index\tname\tmapping\tcolor"]
    for index, name in enumerate(class_names):
        color = "#{:02x}{:02x}{:02x}".format(*CLASS_COLORS.get(name, (0, 0, 0)))
        lines.append(f"{index}\t{name}\t{_BIDS_INDEX.get(name, 'n/a')}\t{color}")
    return "\n".join(lines) + "\n"


def _write_dicom_seg(
    prediction: Prediction, scan: Path, folder: Path, names: ResultNames, choice: OutputChoice
) -> tuple[str, ...]:
    from strokelabel.io.dicom.segmentation import SegOrigin, write_dicom_seg, write_probability_seg
    from strokelabel.io.dicom.segmentation_source import DicomSource

    source = DicomSource(scan)
    origin = SegOrigin(prediction.spec.name, prediction.spec.version)
    write_dicom_seg(folder / names.dicom_seg, prediction.lesion_mask, source, origin)
    if choice.probabilities:
        write_probability_seg(
            folder / names.probability_seg, np.clip(prediction.lesion_probability, 0, 1), source, origin
        )
    return source.notes


def _write_channels(path: Path, channels: np.ndarray, same_grid: Path) -> None:
    """Write (classes, i, j, k) as one 4-D file with the geometry of a 3-D file that was written before."""
    header = cast(nib.Nifti1Image, nib.load(same_grid)).header.copy()
    header.set_data_dtype(np.float32)
    values = np.moveaxis(channels, 0, -1)
    header.set_data_shape(values.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    with atomic_path(path) as temporary:
        nib.save(kind(values, None, header), temporary)

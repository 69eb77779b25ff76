"""Names of result files: BIDS derivatives for BIDS names, plain ones for all others; and the sessions that names tell.

The mask of `sub-01_ses-1_T2w.nii.gz` is `sub-01_ses-1_space-orig_label-L_desc-T2wlesion_mask.nii.gz`: the
suffix goes into `desc`, or masks of two contrasts of a session would share a name. `label-L` is BIDS's own
abbreviation for lesion, `space-orig` says that the grid is the scan's. The mask of any other `scan.nii.gz` is
`scan_lesion_mask.nii.gz`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from strokelabel.io.bids import dataset_root, derivative_name, image_stem, is_bids_name, session_of
from strokelabel.io.file_search import absolute_path

ENSEMBLE_METHOD: Final = "ensemble"
"""`method` of what is made from all scans of a session, so that its files lie beside those of each scan by itself."""


@dataclass(frozen=True)
class ResultNames:
    """File names of one scan's results, without the folder.

    Attributes:
        stem: the scan's own name without its suffixes; unique among the scans of a run.
        method: goes before what the files of lesion and tissues hold, such as "ensemble"; "" for a plain prediction.
    """

    stem: str
    method: str = ""

    @property
    def is_bids(self) -> bool:
        """True if the scan is named as BIDS asks."""
        return is_bids_name(self.stem)

    @property
    def mask(self) -> str:
        """Lesion mask."""
        return self._lesion("mask")

    @property
    def probability(self) -> str:
        """Lesion's probability, 3-D."""
        return self._lesion("probseg")

    @property
    def lesion_structures(self) -> str:
        """Structures that the lesion touches, a table."""
        return self._lesion("structures", ".tsv")

    @property
    def tissues(self) -> str:
        """Most likely class of each voxel."""
        return self._tissue("dseg")

    @property
    def tissue_probabilities(self) -> str:
        """Probabilities of all classes, 4-D."""
        return self._tissue("probseg")

    @property
    def dicom_seg(self) -> str:
        """Lesion mask as DICOM SEG; BIDS has no name for it."""
        return f"{self._plain}_lesion_seg.dcm"

    @property
    def probability_seg(self) -> str:
        """Lesion's probability as DICOM SEG."""
        return f"{self._plain}_lesion_probability_seg.dcm"

    @property
    def parcellation(self) -> str:
        """Most likely structure of each voxel."""
        return self._parcellation("dseg.nii.gz")

    @property
    def volumes(self) -> str:
        """Volumes of all structures, a table."""
        return self._parcellation("volumes.tsv")

    @property
    def parcellation_probabilities(self) -> str:
        """Probabilities of all structures, 4-D."""
        return self._parcellation("probseg.nii.gz")

    @property
    def resampled(self) -> str:
        """Scan at the voxel size of the model that parcellates."""
        if not self.is_bids:
            return f"{self.stem}_resampled.nii.gz"
        return derivative_name(self.stem, f"{self.stem.split('_')[-1]}.nii.gz", "resampled")

    @property
    def resampled_parcellation(self) -> str:
        """Most likely structure of each voxel of the resampled scan."""
        return self._parcellation("dseg.nii.gz", "resampled")

    def uncertainty(self, kind: str) -> str:
        """Map of uncertainty.

        Args:
            kind: "entropy", "mutual-information" or "variance".
        """
        if not self.is_bids:
            return f"{self._plain}_{kind}_uncertainty.nii.gz"
        content = f"{self.method}{kind.replace('-', '')}"
        return derivative_name(self.stem, "uncertainty.nii.gz", content)

    def _lesion(self, kind: str, suffix: str = ".nii.gz") -> str:
        if not self.is_bids:
            return f"{self._plain}_lesion_{kind}{suffix}"
        return derivative_name(self.stem, f"{kind}{suffix}", f"{self.method}lesion", label="L")

    def _tissue(self, kind: str) -> str:
        if not self.is_bids:
            return f"{self._plain}_tissue_{kind}.nii.gz"
        return derivative_name(self.stem, f"{kind}.nii.gz", f"{self.method}tissue")

    @property
    def _plain(self) -> str:
        return f"{self.stem}_{self.method}" if self.method else self.stem

    def _parcellation(self, ending: str, grid: str = "") -> str:
        if not self.is_bids:
            return "_".join(part for part in (self.stem, grid, "parcellation", ending) if part)
        return derivative_name(self.stem, ending, f"{grid}parcellation")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return a stem for each scan, all different, so that no result overwrites another's.

    Scans that share a name get their parent folders' names in front, as many as it takes, and a number at the
    end where even those agree (`scan.nii` beside `scan.nii.gz`). Names are compared without case, as
    some file systems do. Links keep their own names.
    """
    given = [absolute_path(path) for path in paths]
    stems = [image_stem(path) for path in given]
    for depth in range(max((len(path.parents) for path in given), default=0)):
        shared = _repeated(stems)
        if not shared:
            return stems
        stems = [
            f"{_folder_name(path, depth)}{stem}" if stem.lower() in shared else stem
            for path, stem in zip(given, stems, strict=True)
        ]
    return _numbered(stems)


def _folder_name(path: Path, depth: int) -> str:
    folders = [re.sub(r"[^\w.+-]", "-", folder.name) for folder in path.parents]
    return f"{folders[depth]}_" if depth < len(folders) and folders[depth] else ""


def _repeated(stems: Sequence[str]) -> set[str]:
    return {stem for stem, count in Counter(stem.lower() for stem in stems).items() if count > 1}


def _numbered(stems: Sequence[str]) -> list[str]:
    taken = {stem.lower() for stem in stems}
    seen: set[str] = set()
    numbered = []
    for stem in stems:
        name, number = stem, 1
        while name.lower() in seen or (number > 1 and name.lower() in taken):
            number += 1
            name = f"{stem}_{number}"
        seen.add(name.lower())
        numbered.append(name)
    return numbered


def group_sessions(scans: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Group scans by data set, subject, session and space, as BIDS names them (`io.bids.session_of`).

    Returns:
        The scans of each session as absolute paths, each once, by name. A scan whose name tells no session is in none.
    """
    groups: dict[Any, list[Path]] = defaultdict(list)
    for scan in dict.fromkeys(map(absolute_path, scans)):
        if (session := session_of(image_stem(scan))) is not None:
            groups[dataset_root(scan), session].append(scan)
    return [tuple(sorted(group, key=image_stem)) for group in groups.values()]

"""Names of result files: BIDS derivatives for BIDS names, plain ones for all others.

The mask of `sub-01_ses-1_T2w.nii.gz` is `sub-01_ses-1_space-orig_label-L_desc-T2wlesion_mask.nii.gz`: the
suffix goes into `desc`, or masks of two contrasts of a session would share a name. `label-L` is BIDS's own
abbreviation for lesion, `space-orig` says that the grid is the scan's. The mask of any other `scan.nii.gz` is
`scan_lesion_mask.nii.gz`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BIDS = re.compile(r"sub-[a-zA-Z0-9+]+(_[a-z]+-[a-zA-Z0-9+]+)*_[a-zA-Z0-9]+")
_RESULT = re.compile(r"_(mask|dseg|probseg)\.nii(\.gz)?$", re.IGNORECASE)
_LATE_ENTITIES = (
    "space",
    "split",
    "recording",
    "chunk",
    "atlas",
    "seg",
    "scale",
    "res",
    "den",
    "label",
    "desc",
)
"""Entities that BIDS puts at the end of a name, in its order."""


@dataclass(frozen=True)
class ResultNames:
    """File names of one scan's results, without the folder.

    Attributes:
        stem: the scan's own name without its suffixes; unique among the scans of a run.
    """

    stem: str

    @property
    def is_bids(self) -> bool:
        """Whether the scan is named as BIDS asks."""
        return _BIDS.fullmatch(self.stem) is not None

    @property
    def mask(self) -> str:
        """The lesion mask."""
        return self._lesion("mask")

    @property
    def probability(self) -> str:
        """The lesion's probability, 3-D."""
        return self._lesion("probseg")

    @property
    def tissues(self) -> str:
        """The likeliest class of each voxel."""
        return self._tissue("dseg")

    @property
    def tissue_probabilities(self) -> str:
        """The probabilities of all classes, 4-D."""
        return self._tissue("probseg")

    @property
    def dicom_seg(self) -> str:
        """The lesion mask as DICOM SEG; BIDS has no name for it."""
        return f"{self.stem}_lesion_seg.dcm"

    @property
    def probability_seg(self) -> str:
        """The lesion's probability as DICOM SEG."""
        return f"{self.stem}_lesion_probability_seg.dcm"

    @property
    def parcellation(self) -> str:
        """The likeliest structure of each voxel."""
        return self._parcellation("dseg.nii.gz")

    @property
    def volumes(self) -> str:
        """The volumes of all structures, a table."""
        return self._parcellation("volumes.tsv")

    def _lesion(self, kind: str) -> str:
        if not self.is_bids:
            return f"{self.stem}_lesion_{kind}.nii.gz"
        return bids_name(self.stem, f"{kind}.nii.gz", "lesion", label="L")

    def _tissue(self, kind: str) -> str:
        if not self.is_bids:
            return f"{self.stem}_tissue_{kind}.nii.gz"
        return bids_name(self.stem, f"{kind}.nii.gz", "tissue")

    def _parcellation(self, ending: str) -> str:
        if not self.is_bids:
            return f"{self.stem}_parcellation_{ending}"
        return bids_name(self.stem, ending, "parcellation")


def bids_name(stem: str, ending: str, description: str, label: str | None = None) -> str:
    """The name of a derivative of a BIDS file, on the file's own grid.

    Args:
        stem: name of the source without .nii.gz, such as "sub-01_T2w".
        ending: BIDS suffix and file type, such as "mask.nii.gz".
        description: what it shows; `desc` becomes the source's own `desc`, its suffix, and this.
        label: BIDS's abbreviation of the segmented thing, if it is one.
    """
    *parts, suffix = stem.split("_")
    entities = dict(part.split("-", 1) for part in parts)
    entities["desc"] = f"{entities.get('desc', '')}{suffix}{description}"
    entities.setdefault("space", "orig")
    if label is not None:
        entities["label"] = label
    early = [key for key in entities if key not in _LATE_ENTITIES]
    late = [key for key in _LATE_ENTITIES if key in entities]
    return "_".join([f"{key}-{entities[key]}" for key in [*early, *late]] + [ending])


def is_result(path: Path) -> bool:
    """Whether a file name is that of a result (mask, segmentation or probability map) rather than a scan."""
    return _RESULT.search(path.name) is not None


def image_stem(path: Path) -> str:
    """A scan's name without .nii, .nii.gz or .dcm; a folder's name whole."""
    return re.sub(r"\.(nii(\.gz)?|dcm)$", "", path.name, flags=re.IGNORECASE)


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A stem for each scan, all different, so that no result overwrites another's.

    Scans that share a name get their parent folders' names in front, as many as it takes, and a number at the
    end where even those agree (`scan.nii` beside `scan.nii.gz`). Names are compared without case, as
    some file systems do.
    """
    resolved = [path.resolve() for path in paths]
    stems = [image_stem(path) for path in resolved]
    for depth in range(max((len(path.parents) for path in resolved), default=0)):
        shared = _repeated(stems)
        if not shared:
            return stems
        stems = [
            f"{_folder_name(path, depth)}{stem}" if stem.lower() in shared else stem
            for path, stem in zip(resolved, stems, strict=True)
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

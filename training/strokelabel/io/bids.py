"""BIDS: the parts of file names, names of derivatives, sidecars, and dataset descriptions.

Brain Imaging Data Structure 1.10 (https://bids-specification.readthedocs.io). All that the project knows about such
names is here; names of the results of a scan are in `strokelabel.inference.naming`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from strokelabel import __version__
from strokelabel.io.file_kinds import without_suffix

VERSION = "1.10.0"
"""Version of BIDS that is written."""

DATATYPES = ("anat", "dwi", "perf", "func", "fmap", "swi")
"""Folders of a session that scans lie in."""

NOT_RAW_FOLDERS = frozenset({"derivatives", "sourcedata", "code"})
"""Folders of a data set that hold no raw scans."""

SEQUENCES = frozenset(
    {
        "T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "inplaneT1", "inplaneT2", "dwi", "ADC", "adc", "trace",
        "swi",
    }
)  # fmt: skip
"""Suffixes of MR images that show a brain by themselves; not CT, which needs a window of its own. `adc` is ISLES's."""

_NAME = re.compile(r"sub-[a-zA-Z0-9+]+(_[a-z]+-[a-zA-Z0-9+]+)*_[a-zA-Z0-9]+")
_SEGMENTATION_ENDING = ".seg.nrrd"  # of 3D Slicer
_OTHER_ENDING = re.compile(r"\.(dcm|zip|tar|tar\.gz|tgz)$", re.IGNORECASE)
_DERIVED = re.compile(
    r"[_-](mask|msk|roi|dseg|probseg|seg|synthseg|lesion|lesionmask|lesionroi|uncertainty|label)$",
    re.IGNORECASE,
)
_FREESURFER_LABELS = re.compile(
    r"^([lr]h\.)?(aseg|aparc|wmparc|ribbon|wm|filled|ctrl_pts|lesion)([+._-].*)?\.mg[hz]$", re.IGNORECASE
)
"""Volumes of labels in the folder `mri` of a subject."""
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


def image_stem(path: str | Path) -> str:
    """Return the name of an image or archive without its ending, such as .nii.gz or .zip; that of a folder whole."""
    name = path.name if isinstance(path, Path) else Path(path).name
    if is_segmentation_name(name):
        return name[: -len(_SEGMENTATION_ENDING)]
    stem, ending = without_suffix(name)
    return stem if ending else _OTHER_ENDING.sub("", name)


def is_segmentation_name(path: str | Path) -> bool:
    """Return whether a file's name is that of a segmentation of 3D Slicer."""
    return Path(path).name.lower().endswith(_SEGMENTATION_ENDING)


def is_bids_name(stem: str) -> bool:
    """Return whether a name without its ending is one that BIDS allows, such as "sub-01_T1w"."""
    return _NAME.fullmatch(stem) is not None


def entities_of(stem: str) -> dict[str, str]:
    """Return the entities of a name, such as {"sub": "01", "ses": "2"} of "sub-01_ses-2_T1w"."""
    return dict(part.split("-", 1) for part in stem.split("_") if "-" in part)


def words_of(stem: str) -> tuple[str, ...]:
    """Return the parts of a name that are no entities; the last of them is the suffix, such as "T1w"."""
    return tuple(part for part in stem.split("_") if "-" not in part)


def is_derived_name(path: str | Path) -> bool:
    """Return whether a file's name is that of a mask, segmentation or probability map rather than of a scan.

    The endings are BIDS's (`_mask`, `_dseg`, `_probseg`), ours (`_uncertainty`) and those of published data sets:
    ISLES (`_msk`), BraTS (`-seg`), ATLAS (`_lesion`), SynthSeg (`_synthseg`), 3D Slicer (`.seg.nrrd`, `-label`),
    FreeSurfer (`aseg.mgz`).
    """
    name = Path(path).name
    if is_segmentation_name(name) or _FREESURFER_LABELS.match(name) is not None:
        return True
    return _DERIVED.search(image_stem(name)) is not None


def session_folders(stem: str) -> list[str]:
    """Return the folders that a file of this name lies in, such as ["sub-01", "ses-2"]."""
    entities = entities_of(stem)
    return [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]


class Session(NamedTuple):
    """Session of a scan; the sequences of one are predicted together.

    Attributes:
        subject, session: labels of the entities `sub` and `ses`, the latter "" where there is none.
        space: label of `space`: images of a session in different spaces do not belong together.
    """

    subject: str
    session: str
    space: str


def session_of(stem: str) -> Session | None:
    """Return the session of a magnitude MR sequence's name without its ending; None for any other name."""
    *parts, suffix = stem.split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    is_sequence = len(entities) == len(parts) and suffix in SEQUENCES and bool(entities.get("sub"))
    if not is_sequence or entities.get("part", "mag") != "mag":
        return None
    return Session(entities["sub"], entities.get("ses", ""), entities.get("space", ""))


def dataset_root(scan: Path) -> Path:
    """Return the folder of the data set that a scan is in: the one that holds its subject's folder, or else its own.

    Subjects of two data sets may have one label, so that a name alone does not say whose scan it is.
    """
    subject = f"sub-{entities_of(image_stem(scan)).get('sub', '')}"
    holding = (folder.parent for folder in scan.parents if folder.name == subject)
    return next(holding, scan.parent)


def datatype_of(scan: Path) -> str:
    """Return the datatype of a scan by the folder that it lies in; "anat" where that is none of `DATATYPES`."""
    return scan.parent.name if scan.parent.name in DATATYPES else "anat"


def derivative_name(stem: str, ending: str, description: str, label: str | None = None) -> str:
    """Return the name of a derivative of a BIDS file, on the file's own grid.

    Args:
        stem: name of the source without .nii.gz, such as "sub-01_T2w".
        ending: BIDS suffix and file type, such as "mask.nii.gz".
        description: content; `desc` becomes the source's own `desc`, its suffix, and this.
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


def sidecar_path(image: Path) -> Path:
    """Return the path of the JSON file that describes an image."""
    return image.with_name(f"{image_stem(image)}.json")


def dataset_description(
    name: str,
    generated_by: str = "",
    kind: str = "derivative",
    **more: Any,  # noqa: ANN401 - what JSON holds
) -> dict[str, Any]:
    """Return the content of a `dataset_description.json`.

    Args:
        name: of the data set.
        generated_by: what of StrokeLabel made it, such as "model base 0.4.0"; empty for raw data.
        kind: "derivative" or "raw".
        more: further keys.
    """
    description: dict[str, Any] = {"Name": name, "BIDSVersion": VERSION, "DatasetType": kind}
    if generated_by:
        generator: Mapping[str, str] = {
            "Name": "StrokeLabel",
            "Version": __version__,
            "Description": generated_by,
        }
        description["GeneratedBy"] = [generator]
    return description | more

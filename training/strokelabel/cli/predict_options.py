"""Arguments of `strokelabel predict`, each with its help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ViewChoice(StrEnum):
    """Field of view of the network."""

    BRAIN = "brain"
    HEAD = "head"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="NIfTI files, folders of DICOM files, folders to search, or patterns in quotes.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]
Model = Annotated[str, typer.Option(help="Name of a model (see `strokelabel info`), or a weights file.")]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities",
        help="Write the lesion probability; with --tissues, the probabilities of all classes.",
    ),
]
Tissues = Annotated[bool, typer.Option("--tissues", help="Write the most likely class of each voxel.")]
DicomSeg = Annotated[
    bool,
    typer.Option("--dicom-seg", help="Also write the lesion as DICOM SEG; the scans must be DICOM folders."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over flips; two to eight times slower.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Lesion probability from which a voxel counts as lesion (0 to 1); default: the most likely class."
    ),
]
MinSize = Annotated[float, typer.Option(min=0, help="Drop lesions smaller than this, in ml.")]
FillHoles = Annotated[bool, typer.Option("--fill-holes", help="Fill holes in lesions.")]
KeepOutsideBrain = Annotated[
    bool,
    typer.Option(
        "--keep-outside-brain",
        help="Keep lesions outside the brain, in the face and neck, instead of dropping them.",
    ),
]
Ct = Annotated[bool, typer.Option("--ct", help="The scans are CT: show 0 to 80 Hounsfield units.")]
View = Annotated[
    ViewChoice,
    typer.Option(help="Show the network its field of view around the brain, or the whole head."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of CPU threads; default: all cores.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Predict again and replace existing results.")]

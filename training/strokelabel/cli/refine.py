"""`strokelabel refine`: correct a lesion mask by clicks and strokes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.errors import GeometryError, OptionError

if TYPE_CHECKING:
    import numpy as np

    from strokelabel.inference.refine import Prompt
    from strokelabel.io import Image

Voxels = list[str] | None


Scan = Annotated[Path, typer.Argument(help="The scan: a NIfTI file, or a folder of DICOM files.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The corrected mask, NIfTI.")]
Mask = Annotated[
    Path | None, typer.Option(help="Mask to correct, on the scan's grid; without it, an empty one.")
]
Lesion = Annotated[Voxels, typer.Option(metavar="I,J,K", help="A voxel that is lesion.")]
NotLesion = Annotated[Voxels, typer.Option(metavar="I,J,K", help="A voxel that is not lesion.")]
Add = Annotated[Voxels, typer.Option(metavar="I,J,K", help="Add the region around a voxel.")]
Remove = Annotated[Voxels, typer.Option(metavar="I,J,K", help="Remove the island at a voxel.")]
ScribblesOption = Annotated[
    Path | None, typer.Option(help="Strokes on the scan's grid: 1 lesion, 2 not lesion.")
]
Kept = Annotated[Path | None, typer.Option(help="Earlier strokes, which are kept: 1 lesion, 2 not lesion.")]
Probability = Annotated[Path | None, typer.Option(help="A model's lesion probability on the scan's grid.")]
ReachMm = Annotated[float, typer.Option(help="Voxels further than this from every prompt do not change.")]


def run(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    scan: Scan,
    output: Output,
    mask: Mask = None,
    lesion: Lesion = None,
    not_lesion: NotLesion = None,
    add: Add = None,
    remove: Remove = None,
    scribbles: ScribblesOption = None,
    kept: Kept = None,
    probability: Probability = None,
    reach_mm: ReachMm = 40.0,
) -> None:
    """Correct a lesion mask: strokes first, then voxels that are lesion, that are not, regions, and islands.

    Voxels are indices that count from 0, as 3D Slicer's IJK. Options of one kind may be repeated.
    """
    actions = _parse(lesion, not_lesion, add, remove)

    from strokelabel.inference.refine import Prompts, RefineOptions, Scribbles, refine
    from strokelabel.io import read_image, write_nifti

    image = read_image(scan)
    if scribbles is not None:
        actions = [Scribbles(_labels(scribbles, image)), *actions]
    before = _labels(mask, image) if mask is not None else _empty(image)
    prompts = Prompts(tuple(actions), _labels(kept, image) if kept is not None else None)
    chance = _probability(probability, image) if probability is not None else None
    found = refine(image, before, prompts, chance, RefineOptions(reach_mm=reach_mm))
    write_nifti(output, found, image, "uint8", "StrokeLabel refine")
    ml = image.grid.voxel_volume_ml
    changed = int((found != before).sum())
    typer.echo(f"{output}: {found.sum() * ml:.2f} ml of lesion, {changed * ml:.2f} ml changed")


def _parse(lesion: Voxels, not_lesion: Voxels, add: Voxels, remove: Voxels) -> list[Prompt]:
    """Parse the prompts of the options.

    Raises:
        OptionError: not three whole numbers.
    """
    from strokelabel.inference.refine import AddRegion, Click, RemoveIsland

    prompts: list[Prompt] = [Click(_voxel(text), lesion=True) for text in lesion or []]
    prompts += [Click(_voxel(text), lesion=False) for text in not_lesion or []]
    prompts += [AddRegion(_voxel(text)) for text in add or []]
    return [*prompts, *(RemoveIsland(_voxel(text)) for text in remove or [])]


def _voxel(text: str) -> tuple[int, int, int]:
    try:
        i, j, k = (int(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(f"Expected a voxel as I,J,K, such as 91,120,64, got {text!r}.") from error
    return i, j, k


def _labels(path: Path, image: Image) -> np.ndarray:
    """Read the labels of a file, in the order of the scan's axes.

    Raises:
        OptionError: on another grid than the scan's.
    """
    from strokelabel.io import read_label_image

    return _on_grid(read_label_image(path), image)


def _probability(path: Path, image: Image) -> np.ndarray | None:
    """Read a probability map, in the order of the scan's axes; None if it is zero everywhere.

    Raises:
        OptionError: on another grid than the scan's.
    """
    from strokelabel.errors import EmptyImageError
    from strokelabel.io import read_image

    try:
        return _on_grid(read_image(path), image)
    except EmptyImageError:
        return None


def _on_grid(other: Image, image: Image) -> np.ndarray:
    from strokelabel.geometry import bring_to_grid

    try:
        return bring_to_grid(other.data, other.grid, image.grid, other.source, image.source)
    except GeometryError as error:
        raise OptionError(str(error)) from error


def _empty(image: Image) -> np.ndarray:
    import numpy as np

    return np.zeros(image.data.shape, np.uint8)

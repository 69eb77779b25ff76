"""Subject of simulated scans: measured quantitative maps, or a label map whose labels get their tissue's values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.geometry import bring_to_grid
from strokelabel.io.checks import check_values
from strokelabel.io.images import Image, read_label_image
from strokelabel.io.map_files import find_map_files
from strokelabel.io.volumes import read_volume
from strokelabel.labels import LabelTable
from strokelabel.physics.distributions import RandomSource
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps, check_units, r2_from_r2_star
from strokelabel.physics.priors import TissueDraw, TissuePriors, Values

_NO_SPREAD: Values = (0.0, 0.0, 0.0, 0.0, 0.0)


def draw_tissues(
    tissues: set[str], priors: TissuePriors, source: RandomSource | None = None
) -> dict[str, TissueDraw]:
    """Draw one subject's tissues from the priors; without a source of randomness, use their means."""
    if source is None:
        return {tissue: TissueDraw(priors.means(tissue), _NO_SPREAD) for tissue in sorted(tissues)}
    return {tissue: priors.draw(source, tissue) for tissue in sorted(tissues)}


def label_tissues(ids: NDArray[np.integer], table: LabelTable, priors: TissuePriors) -> dict[int, str]:
    """Return the tissue of each label that occurs.

    Raises:
        LabelMapError: a label is not in the table.
    """
    present = {int(value) for value in np.unique(ids)}
    table.check(present, "label map")
    return {label_id: priors.tissue_of(table[label_id]) for label_id in present}


def maps_from_labels(
    ids: NDArray[np.integer],
    tissues: dict[int, str],
    drawn: dict[str, TissueDraw],
    generator: torch.Generator | None = None,
) -> QuantitativeMaps:
    """Give every voxel the values of its tissue.

    Args:
        ids: label map (i, j, k).
        tissues: tissue of each label, see `label_tissues`.
        drawn: values of each tissue, see `draw_tissues`.
        generator: source of the spread within tissues, drawn per voxel; None for none.

    Returns:
        Maps of shape (i, j, k), float32.
    """
    present, positions = np.unique(ids, return_inverse=True)
    index = torch.from_numpy(positions.reshape(ids.shape).astype(np.int64))
    draws = [drawn[tissues[int(label_id)]] for label_id in present]
    means = torch.tensor([d.means for d in draws])[index]
    if generator is None:
        return QuantitativeMaps.unstack(means, dim=-1)
    spread = torch.tensor([d.deviations for d in draws])[index]
    noise = torch.randn(means.shape, generator=generator)
    return _physical(means + spread * noise)


def insert_tissue(maps: QuantitativeMaps, mask: Tensor, tissue: TissueDraw) -> QuantitativeMaps:
    """Replace the values where a mask is 1, blending where it is in between.

    Args:
        maps: of shape (i, j, k).
        mask: (i, j, k) in [0, 1].
        tissue: the values to put there, a lesion's, say.
    """
    values = torch.tensor(tissue.means, dtype=maps.pd.dtype).view(-1, *(1 for _ in mask.shape))
    return QuantitativeMaps.unstack(torch.lerp(maps.stack(), values, mask.to(maps.pd.dtype)[None]))


def _physical(values: Tensor) -> QuantitativeMaps:
    """Clip to physical values: none negative, and R2* at least R2."""
    maps = QuantitativeMaps.unstack(values.clamp_min(0), dim=-1)
    return QuantitativeMaps(maps.pd, maps.r1, maps.r2, torch.maximum(maps.r2_star, maps.r2), maps.mt)


@dataclass(frozen=True, eq=False)
class Subject:
    """Quantitative maps and the grid that they lie on.

    Attributes:
        maps: of shape (i, j, k).
        image: grid, header and name of the file that they came from.
    """

    maps: QuantitativeMaps
    image: Image


def read_map_subject(folder: Path) -> Subject:
    """Read the quantitative maps of a folder.

    NaN, infinite and negative values, which fits leave in the air, become 0. A missing R2 map is guessed from R2*
    (`r2_from_r2_star`), a missing MT map is zero.

    Args:
        folder: with one subject's PD, R1, R2* and, better, R2 and MT maps; see `strokelabel.io.map_files` for names.

    Raises:
        DataError: no or several subjects, or a map is missing.
        ImageError: a map cannot be read, lies on another grid than the others, or is in other units.
    """
    subjects = find_map_files(folder, ("pd", "r1", "r2_star"))
    if len(subjects) > 1:
        names = ", ".join(s.name for s in subjects[:5])
        raise DataError(
            f"{folder}: expected the maps of one subject, found {len(subjects)} ({names}); pass one"
        )
    images = {name: _read(path) for name, path in subjects[0].maps.items()}
    values = {
        name: torch.from_numpy(_defined(_on_grid(image, images["pd"]))) for name, image in images.items()
    }
    values.setdefault("r2", r2_from_r2_star(values["r2_star"], values["r1"]))
    values.setdefault("mt", torch.zeros_like(values["r1"]))
    maps = QuantitativeMaps(**{name: values[name] for name in MAP_NAMES})
    check_units(maps, ignore=tuple(name for name in ("r2", "mt") if name not in images))
    return Subject(maps, images["pd"])


def read_label_subject(
    path: Path,
    table: LabelTable,
    priors: TissuePriors,
    source: RandomSource | None = None,
    generator: torch.Generator | None = None,
) -> Subject:
    """Read a label map and give each label the values of its tissue.

    Args:
        path: label map with FreeSurfer's ids.
        table: what the ids are.
        priors: values of tissues.
        source: draws one subject; without, tissues have the means of their priors.
        generator: draws the spread within tissues, voxel by voxel; without, there is none.

    Raises:
        LabelMapError: a value is no whole number, or not in the table.
        ImageError: the file cannot be read.
    """
    image = read_label_image(path)
    tissues = label_tissues(image.data, table, priors)
    drawn = draw_tissues(set(tissues.values()), priors, source)
    maps = maps_from_labels(image.data, tissues, drawn, generator)
    return Subject(maps, replace(image, data=image.data.astype(np.float32)))


def add_lesion(
    subject: Subject, mask: Path, tissue: str, priors: TissuePriors, source: RandomSource | None = None
) -> Subject:
    """Put a lesion into a subject.

    Args:
        subject: without it.
        mask: lesion mask on the subject's grid; what is not 0 is lesion.
        tissue: what the lesion is made of.
        priors: values of tissues.
        source: draws the lesion's values; without, they are the means of the prior.

    Raises:
        DataError: no such tissue.
        ImageError: the file cannot be read, or lies on another grid.
    """
    values = draw_tissues({tissue}, priors, source)[tissue]
    return replace(subject, maps=insert_tissue(subject.maps, read_mask(mask, subject), values))


def read_mask(path: Path, subject: Subject) -> Tensor:
    """Read a mask on the subject's grid as (i, j, k) float32 of 0 and 1.

    Raises:
        ImageError: the file cannot be read, or lies on another grid.
    """
    mask = read_label_image(path)
    return torch.from_numpy((_on_grid(mask, subject.image) != 0).astype(np.float32))


def read_field(path: Path, subject: Subject) -> Tensor:
    """Read a receive or transmit field on the subject's grid, relative to 1.

    Raises:
        ImageError: the file cannot be read, lies on another grid, or does not vary about 1.
    """
    field = _read(path)
    check_values(field.data, str(path))
    values = _on_grid(field, subject.image)
    median = float(np.median(field.data[field.data > 0])) if (field.data > 0).any() else 0.0
    if not 0.2 <= median <= 5:
        raise DataError(
            f"{path}: expected a field relative to 1, found a median of {median:g}; divide percentages by 100"
        )
    return torch.from_numpy(np.maximum(values, 0))


def _read(path: Path) -> Image:
    volume = read_volume(path, np.float32)
    return Image(volume.data, volume.affine, volume.header, str(path), volume.notes)


def _defined(values: np.ndarray) -> np.ndarray:
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0)


def _on_grid(image: Image, reference: Image) -> np.ndarray:
    """Return the data of an image in the order of a reference's axes.

    Raises:
        GeometryError: on another grid.
    """
    return bring_to_grid(image.data, image.grid, reference.grid, image.source, reference.source)

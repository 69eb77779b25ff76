"""Heads whose contrast comes from quantitative volumes instead of labels: qATLAS beside qSynth.

Every voxel has its own PD, R1, R2, R2* and MT, estimated from a scan (Chalcroft et al. 2025, section 2.1) or simulated.
Deformation, lesions, sequence and artefacts are those of any other head.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.anatomy.head import Head
from strokelabel.synthesis.config import ContrastConfig
from strokelabel.synthesis.contrast.gaussian_mixture import look_up, texture
from strokelabel.synthesis.contrast.tissue_properties import sample_tissue_contrast
from strokelabel.synthesis.quantitative.scan import TEXTURES, textured_maps
from strokelabel.synthesis.sampling import Sampler


@dataclass(frozen=True)
class QuantitativeHead(Head):
    """One head at the working resolution. The labels of `Head` are kept where they are known, and not used.

    Attributes:
        tissues: (5, x, y, z) as in `Head`, and the lesion that the head itself has; all zero but for the lesion where
            the tissues are not labelled.
        maps: (5, x, y, z) float16 in the order of `physics.maps.MAP_NAMES`.
        labelled: (1,) bool, whether the tissues are known.
    """

    maps: Tensor
    labelled: Tensor

    def voxels(self, values: Tensor, air: Tensor) -> Tensor:
        """Return the maps, relative to air; without further texture, since they have their own.

        Args:
            values: (batch, labels, features), not used; the first five features are the maps, others are spreads.
            air: (batch, 1, features).

        Returns:
            (batch, features, x, y, z).
        """
        reference = air[:, 0, :, None, None, None]
        count = self.maps.shape[1]
        relative = self.maps.float() - reference[:, :count]
        rest = -reference[:, count:].expand(-1, -1, *relative.shape[2:])
        return torch.cat([relative, rest], dim=1)


def simulate_quantitative_head(
    head: Head, table: LabelTable, config: ContrastConfig, seed: int
) -> QuantitativeHead:
    """Give a labelled head the quantitative maps of a subject drawn from the tissue priors.

    Stands in for maps of real scans where there are none: it has the texture of the priors, not that of a brain.

    Args:
        head: labels, on the CPU.
        table: label table that the head's indices point into.
        config: ranges of the priors and of the texture.
        seed: decides the subject.
    """
    contrast = sample_tissue_contrast(Sampler(seed), config, table)
    x, y, z = head.first.shape
    labels = head.first[None], head.second[None], head.fraction[None]
    mean, deviation = (look_up(values[None], *labels) for values in (contrast.means, contrast.deviations))
    textures = deviation * texture([contrast], (x, y, z), head.first.device, TEXTURES)
    assert contrast.scan is not None
    maps = textured_maps(mean, textures, [contrast.scan])[0]
    known = {field.name: getattr(head, field.name) for field in fields(Head)}
    no_lesion = torch.zeros_like(head.first)[None]
    return QuantitativeHead(
        **(known | {"tissues": torch.cat([head.tissues, no_lesion])}),
        maps=maps.half(),
        labelled=torch.ones(1, dtype=torch.bool),
    )

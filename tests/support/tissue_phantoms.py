"""Tissues for physics tests."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from strokelabel.physics import QuantitativeMaps, default_priors


def maps_of(*tissues: str, dtype=torch.float64) -> QuantitativeMaps:
    """The mean values of some tissues, one voxel each."""
    priors = default_priors()
    return QuantitativeMaps.unstack(torch.tensor([priors.means(t) for t in tissues], dtype=dtype), dim=1)


def one_voxel(pd=80.0, r1=1.0, r2=12.0, r2_star=20.0, mt=1.0) -> QuantitativeMaps:
    return QuantitativeMaps(*(torch.tensor([v], dtype=torch.float64) for v in (pd, r1, r2, r2_star, mt)))


def tissues() -> st.SearchStrategy[QuantitativeMaps]:
    """Three tissues with any rates that occur in a head (no bone)."""
    voxel = st.tuples(
        st.floats(1, 110), st.floats(0.2, 4.0), st.floats(0.4, 40.0), st.floats(0.4, 120.0), st.floats(0, 4.0)
    )
    return st.lists(voxel, min_size=3, max_size=3).map(
        lambda rows: QuantitativeMaps.unstack(torch.tensor(rows, dtype=torch.float64), dim=1)
    )

"""Physics of a scanner: signal equations, acquisition parameters, tissue priors and noise.

Times are in seconds, angles in degrees, rates in s^-1, proton density and magnetisation transfer in percentage units.
"""

from strokelabel.physics.acquisition import Acquisition, rician_noise
from strokelabel.physics.distributions import RandomSource
from strokelabel.physics.gradient_echo import GradientEcho, SpoiledGradientEcho
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps, check_units, r2_from_r2_star
from strokelabel.physics.mprage import Mp2rage, Mprage
from strokelabel.physics.presets import (
    CLINICAL,
    PAPER,
    PRESETS,
    SEQUENCES,
    Protocol,
    draw_acquisition,
    find_protocol,
    make_acquisition,
    sequence_class,
)
from strokelabel.physics.priors import Prior, TissueDraw, TissuePriors, default_priors, read_priors
from strokelabel.physics.spin_echo import FastSpinEcho, Flair
from strokelabel.physics.subject import draw_tissues, insert_tissue, label_tissues, maps_from_labels

__all__ = [
    "CLINICAL",
    "MAP_NAMES",
    "PAPER",
    "PRESETS",
    "SEQUENCES",
    "Acquisition",
    "FastSpinEcho",
    "Flair",
    "GradientEcho",
    "Mp2rage",
    "Mprage",
    "Prior",
    "Protocol",
    "QuantitativeMaps",
    "RandomSource",
    "SpoiledGradientEcho",
    "TissueDraw",
    "TissuePriors",
    "check_units",
    "default_priors",
    "draw_acquisition",
    "draw_tissues",
    "find_protocol",
    "insert_tissue",
    "label_tissues",
    "make_acquisition",
    "maps_from_labels",
    "r2_from_r2_star",
    "read_priors",
    "rician_noise",
    "sequence_class",
]

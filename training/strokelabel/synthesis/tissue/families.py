"""Mean intensity of each tissue group in the clinical contrast families.

Wide priors, written down here by us, around how each tissue looks on a T1w, T2w, FLAIR or diffusion-weighted scan, an
ADC map, or a CT.
"""

from __future__ import annotations

CT = "ct"
"""The family that is no magnetic resonance: no bias field, no gamma, Gaussian noise, and values clipped to [0, 1]."""

CT_AIR = -2.0
"""Air on CT, far enough below the window that no noise lifts it into it (real air is at -12.5)."""

CLINICAL_MEANS: dict[str, dict[str, tuple[float, float]]] = {
    "t1": {
        "gray": (0.38, 0.64), "white": (0.7, 0.95), "ventricle": (0.08, 0.25), "csf": (0.08, 0.3),
        "vessel": (0.1, 0.7), "bone": (0.0, 0.15), "marrow": (0.4, 0.9), "soft": (0.3, 0.6),
        "skin": (0.5, 1.0), "eye": (0.1, 0.3), "lesion": (0.1, 0.48),
    },
    "t2": {
        "gray": (0.42, 0.6), "white": (0.25, 0.42), "ventricle": (0.8, 1.0), "csf": (0.7, 1.0),
        "vessel": (0.0, 0.4), "bone": (0.0, 0.15), "marrow": (0.2, 0.6), "soft": (0.15, 0.45),
        "skin": (0.3, 0.8), "eye": (0.7, 1.0), "lesion": (0.6, 1.05),
    },
    "flair": {
        "gray": (0.45, 0.62), "white": (0.33, 0.5), "ventricle": (0.03, 0.15), "csf": (0.03, 0.25),
        "vessel": (0.0, 0.4), "bone": (0.0, 0.15), "marrow": (0.2, 0.6), "soft": (0.2, 0.55),
        "skin": (0.3, 0.9), "eye": (0.05, 0.2), "lesion": (0.68, 1.1),
    },
    "dwi": {
        "gray": (0.3, 0.45), "white": (0.22, 0.4), "ventricle": (0.02, 0.15), "csf": (0.02, 0.2),
        "vessel": (0.0, 0.15), "bone": (0.0, 0.08), "marrow": (0.0, 0.15), "soft": (0.0, 0.2),
        "skin": (0.0, 0.2), "eye": (0.02, 0.2), "lesion": (0.45, 1.2),
    },
    "adc": {
        "gray": (0.2, 0.38), "white": (0.19, 0.34), "ventricle": (0.8, 1.05), "csf": (0.6, 1.0),
        "vessel": (0.0, 0.6), "bone": (0.0, 0.1), "marrow": (0.0, 0.2), "soft": (0.1, 0.45),
        "skin": (0.0, 0.4), "eye": (0.7, 1.0), "lesion": (0.08, 0.24),
    },
    "ct": {
        "gray": (0.41, 0.5), "white": (0.32, 0.405), "ventricle": (0.03, 0.18), "csf": (0.05, 0.22),
        "vessel": (0.42, 0.7), "bone": (1.5, 3.0), "marrow": (1.0, 2.5), "soft": (0.4, 0.8),
        "skin": (-1.2, 0.6), "eye": (0.05, 0.25), "lesion": (0.1, 0.31),
    },
}  # fmt: skip
"""Ranges of the mean per tissue group, relative to a white point of about 1.

On CT, 0 to 1 is the window of 0 to 80 Hounsfield units: white matter at 26 to 32, gray matter at 33 to 40, fluid below
18, bone far above the window, and the fat of the scalp below it.
"""

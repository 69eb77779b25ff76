"""A small head with known anatomy: nested ellipsoids with FreeSurfer ids, unequal axes, off-centre, 3 mm voxels."""

from __future__ import annotations

import numpy as np

from strokelabel.labels import default_label_table
from strokelabel.synthesis.anatomy.head import make_head
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedBrain

SPACING_MM = 3.0
SHAPE = (56, 68, 60)
CENTER_MM = np.array([4.0, -10.0, 12.0])
ICBM_SHAPE = (197, 233, 189)
ICBM_AFFINE = np.array([[1.0, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])


def phantom_affine():
    """Voxel index to RAS mm; the phantom's centre is not the world's origin."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = CENTER_MM - SPACING_MM * (np.array(SHAPE) - 1) / 2
    return affine


def phantom_ids():
    """FreeSurfer ids (x, y, z): skin, bone, CSF, cortex, white matter and ventricles, sided."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    mm = (index - (np.array(SHAPE) - 1) / 2) * SPACING_MM
    radius = np.sqrt(((mm / [70.0, 88.0, 76.0]) ** 2).sum(-1))
    left = mm[..., 0] < 0
    ids = np.zeros(SHAPE, dtype=int)
    ids[radius < 1.08] = 511
    ids[radius < 1.02] = 515
    ids[radius < 0.96] = 24
    ids[radius < 0.92] = np.where(left, 3, 42)[radius < 0.92]
    ids[radius < 0.78] = np.where(left, 2, 41)[radius < 0.78]
    ids[radius < 0.2] = np.where(left, 4, 43)[radius < 0.2]
    return ids


def phantom_brain(to_icbm=None):
    """The phantom as `strokelabel prepare` would store it."""
    table = default_label_table()
    ids = phantom_ids()
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for label_id in np.unique(ids):
        labels[ids == label_id] = table.index(int(label_id))
    to_icbm = np.eye(4) if to_icbm is None else to_icbm
    return PreparedBrain("phantom", labels, phantom_affine(), to_icbm, 1.0)


def phantom_head(to_icbm=None, spacing_mm=SPACING_MM):
    """The phantom ready for synthesis."""
    return make_head(phantom_brain(to_icbm), default_label_table(), spacing_mm)


def ball_bank(centers_mm, radius_mm=14.0):
    """A bank of balls centred at ICBM positions in mm."""
    lesions = []
    for number, center in enumerate(centers_mm):
        index = np.round(np.array(center) - ICBM_AFFINE[:3, 3]).astype(int)
        side = int(2 * radius_mm + 1)
        grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1) - radius_mm
        mask = (grid**2).sum(-1) <= radius_mm**2
        start = index - int(radius_mm)
        lesions.append(Lesion(f"ball-{number}", "test", "", tuple(int(v) for v in start), mask))
    return LesionBank.from_lesions(lesions, ICBM_SHAPE, ICBM_AFFINE)

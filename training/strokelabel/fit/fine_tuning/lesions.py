"""Submitted lesions brought to ICBM space, to be pasted into synthetic heads."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from strokelabel.errors import StrokeLabelError
from strokelabel.fit.fine_tuning.cases import FineTuneCase, read_submitted
from strokelabel.fit.pseudo_labels.lesions import (
    align_with_icbm,
    fraction_inside,
    has_tissues,
    place_in_icbm,
)
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.images import Image
from strokelabel.labels import TissueClass
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY
from strokelabel.synthesis.prepared.source_files import MINIMUM_INSIDE, crop_to_mask
from strokelabel.types import Affine, Mask

SOURCE = "submitted"
"""Data set that the lesions of a bank name as their source."""

SHARE = 0.25
"""Of the lesions of a bank, how many are submitted ones, counting repetitions: a few labels beside an archive of a
thousand lesions would never be drawn."""

_LOG = logging.getLogger(__name__)


def submitted_lesions(cases: Sequence[FineTuneCase], predictor: Predictor, cache: Path) -> list[Lesion]:
    """Return the lesions of submitted labels on the ICBM grid; those that cannot be aligned are left out and logged.

    Args:
        cases: to be trained on.
        predictor: its tissues say where a scan's brain lies.
        cache: folder that alignments are kept in.
    """
    if not has_tissues(predictor.spec.class_names):
        _LOG.info(
            "submitted lesions are not pasted into synthetic heads: the model predicts no tissues to align by"
        )
        return []
    found = []
    for case in cases:
        try:
            lesion, problem = _place(case, predictor, cache)
        except StrokeLabelError as error:
            lesion, problem = None, str(error)
        if lesion is None:
            _LOG.info("the lesion of %s is not pasted into synthetic heads: %s", case.submitted.name, problem)
        else:
            found.append(lesion)
    return found


def with_submitted(bank: LesionBank, lesions: Sequence[Lesion]) -> LesionBank:
    """Append submitted lesions to a bank, repeated until they make up `SHARE`."""
    if not lesions:
        return bank
    times = max(1, math.ceil(SHARE / (1 - SHARE) * len(bank) / len(lesions)))
    own = [bank.lesion(index) for index in range(len(bank))]
    return LesionBank.from_lesions([*own, *(list(lesions) * times)], bank.grid_shape, bank.affine)


def _place(case: FineTuneCase, predictor: Predictor, cache: Path) -> tuple[Lesion | None, str]:
    """Return the lesion, or the reason why there is none."""
    image, mask = read_submitted(case.submitted)
    if not mask.any():
        return None, "its label is empty"
    to_icbm, similarity = _alignment(case, image, mask, predictor, cache)
    if to_icbm is None or similarity < MINIMUM_SIMILARITY:
        return (
            None,
            f"its tissues correlate with the ICBM template by {similarity:.2f}, expected {MINIMUM_SIMILARITY:g}",
        )
    index_to_icbm = to_icbm @ image.affine
    if fraction_inside(mask, index_to_icbm) < MINIMUM_INSIDE:
        return None, "most of it lies outside the ICBM template's brain"
    placed = place_in_icbm(mask, index_to_icbm)
    if not placed.any():
        return None, "nothing of it is left on the ICBM grid"
    offset, cropped = crop_to_mask(placed)
    return Lesion(f"{SOURCE}_{case.submitted.name}", SOURCE, case.label_sha256, offset, cropped), ""


def _alignment(
    case: FineTuneCase, image: Image, mask: Mask, predictor: Predictor, cache: Path
) -> tuple[Affine | None, float]:
    """Return the map from RAS mm to ICBM mm, and the agreement of the tissues; from the cache, or by registration."""
    path = cache / f"{case.image_sha256[:32]}.icbm.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return np.array(stored["to_icbm"], dtype=np.float64).reshape(4, 4), float(stored["similarity"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _LOG.info(
        "aligning %s with ICBM space, once, to paste its lesion into synthetic heads", case.submitted.name
    )
    labels = np.where(mask, np.uint8(TissueClass.LESION), predictor.predict(image).labels)
    registration = align_with_icbm(labels, image.grid)
    if registration is None:
        return None, 0.0
    content = {"to_icbm": registration.to_icbm.tolist(), "similarity": registration.similarity}
    atomic_write_json(path, content)
    return registration.to_icbm, registration.similarity

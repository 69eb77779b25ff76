"""Page about the lesion of a scan, as `strokelabel predict --report` writes it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from strokelabel.inference.segment.batch import sidecar
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.io.images import Image
from strokelabel.reports.lesions.page import lesion_page, lesion_side
from strokelabel.reports.lesions.pictures import draw_lesion


def write_page(prediction: Prediction, image: Image, name: str, content: str, told: Mapping[str, Any]) -> str:
    """Write the page of one scan; paths of the server are not in it.

    Args:
        prediction: on the grid of `image`.
        image: the scan.
        name: by which clients know it.
        content: check sum of the scan.
        told: entries of the answer about the lesion: structures, outcome.

    Returns:
        Path of a temporary file; the server removes it once it is sent.
    """
    shown = replace(image, source=name)
    described = {**sidecar(prediction, name), **told}
    pictures = draw_lesion(shown, prediction.lesion_mask, prediction.lesion_probability)
    text = lesion_page(shown, described, pictures, lesion_side(prediction, image), {name: content})
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8", delete=False) as file:
        file.write(text)
    return str(Path(file.name))

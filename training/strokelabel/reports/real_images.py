"""Slabs and painted scans, as a network is shown them, as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from torch import Tensor

from strokelabel.fit.real_images.painted_scan_stream import PaintedScanStream
from strokelabel.fit.real_images.slab_stream import SlabStream
from strokelabel.reports.contact_sheet import Panel, make_panel


def slab_panels(stream: SlabStream, first: int = 0) -> Iterator[Panel]:
    """One picture of each slab of a stream, without end.

    Args:
        stream: of slabs.
        first: position of the first one.
    """
    for index in count(first):
        step, place = divmod(index, stream.config.count)
        shape, (part, *_) = stream.sample(step, place)
        parameters = part.parameters
        image, lesion = stream.render(step, place)
        middle = parameters.first + parameters.filled // 2
        title = f"{shape.view}, {parameters.appearance.recolouring.kind}"
        if parameters.filled < image.shape[shape.axis]:
            title += f", {parameters.filled * stream.spacing_mm:.0f} mm"
        plane, mask = (volume.select(shape.axis, middle)[..., None] for volume in (image, lesion))
        yield _panel(plane, mask, title)


def scan_panels(stream: PaintedScanStream, first: int = 0) -> Iterator[Panel]:
    """One picture of each image of a stream, without end.

    Args:
        stream: of painted scans.
        first: position of the first one.
    """
    for index in count(first):
        parameters = stream.sample(index)
        image, lesion = stream.render(parameters)
        painted = f", {len(parameters.lesions)} painted" if parameters.lesions else ""
        yield _panel(image, lesion, f"{parameters.appearance.recolouring.kind}{painted}")


def _panel(image: Tensor, lesion: Tensor, title: str) -> Panel:
    values = image.cpu().numpy().astype(np.float32)
    return make_panel(values, {"red": lesion.cpu().numpy()}, title)

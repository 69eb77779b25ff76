"""Frame of each view: its name, sides, slice slider, and a button to enlarge it."""

from __future__ import annotations

from trame.widgets import html
from trame_server import Server
from trame_slicer.app.logic.slice_view_logic import connect_slice_view_slider_to_state
from trame_slicer.app.ui.slider import Slider
from trame_slicer.views import AbstractView

from .scene import AXIAL, CORONAL, SAGITTAL, THREED
from .widgets import button

SIDES = {AXIAL: ("R", "L", "A"), CORONAL: ("R", "L", "S"), SAGITTAL: ("A", "P", "S")}
"""Letters at the left edge, at the right edge, and at the top."""

TITLES = {AXIAL: "Axial", CORONAL: "Coronal", SAGITTAL: "Sagittal", THREED: "3D"}
KEYS = {AXIAL: 1, CORONAL: 2, SAGITTAL: 3, THREED: 4}


def slice_view(server: Server, _view_id: str, view: AbstractView) -> None:
    """Lay out the frame of a slice view."""
    name = view.get_singleton_tag()
    _name(name)
    for place, side in zip(("left", "right", "top"), SIDES[name], strict=True):
        html.Div(side, classes=f"view-mark {place}")
    with html.Div(classes="view-slider"):
        state = connect_slice_view_slider_to_state(server, view)
        Slider(
            typed_state=state,
            density="compact",
            track_size=2,
            thumb_size=11,
            color="primary",
            title="Slice (wheel)",
        )


def threed_view(_server: Server, _view_id: str, view: AbstractView) -> None:
    """Lay out the frame of the 3D view."""
    _name(view.get_singleton_tag())


def _name(name: str) -> None:
    html.Div(TITLES[name], classes="view-name")
    with html.Div(classes="view-max"):
        button("layout", "mdi-fullscreen", f"This view alone, or all four ({KEYS[name]})", args=[name])

"""Layout of the page: cases on the left, four views with their frames, the tools on the right."""

from __future__ import annotations

from pathlib import Path

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_server import Server
from trame_slicer.app.logic.slice_view_logic import connect_slice_view_slider_to_state
from trame_slicer.app.ui.slider import Slider
from trame_slicer.core import LayoutManager
from trame_slicer.views import AbstractView

from . import dialogs, panels, simulation
from .scene import AXIAL, CORONAL, SAGITTAL, THREED
from .widgets import button, run

STATIC = Path(__file__).parent / "static"
ASSETS = {
    "serve": {"strokelabel_page": str(STATIC)},
    "scripts": ["strokelabel_page/page.js"],
    "styles": ["strokelabel_page/page.css"],
}

THEME = {
    "dark": True,
    "colors": {
        "background": "#0b0e11",
        "surface": "#14191e",
        "surface-light": "#1d242b",
        "primary": "#4fb3bf",
        "secondary": "#8a9ba8",
        "success": "#5fbf7f",
        "warning": "#e0a84f",
        "error": "#e5675f",
        "info": "#6aa5e0",
    },
}


def build(server: Server, layouts: LayoutManager) -> None:
    """Build the page into the server."""
    server.enable_module(ASSETS)
    config = {"theme": {"defaultTheme": "strokelabel", "themes": {"strokelabel": THEME}}}
    with VAppLayout(server, vuetify_config=config) as page:
        page.root.theme = "strokelabel"
        _bar()
        with v3.VNavigationDrawer(v_model=("show_cases",), width=264, permanent=True, classes="side"):
            panels.cases()
        with v3.VNavigationDrawer(location="right", width=320, permanent=True, classes="side"):
            with html.Div(v_show=("tab !== 'simulate'",), classes="side-tab"):
                panels.work()
            simulation.controls()
        with v3.VMain(classes="views"), html.Div(classes="views-inner"):
            layouts.initialize_layout_grid(page)
            _empty_state()
            simulation.stage()
            _banners()
        dialogs.build()


def _bar() -> None:
    with v3.VAppBar(height=46, flat=True, classes="bar"):
        button("toggle", "mdi-menu", "Show or hide the list of scans", args=["show_cases"])
        with html.Div(classes="brand"):
            html.Span("Stroke", classes="brand-a")
            html.Span("Label", classes="brand-b")
        html.Div(
            "For research use only", classes="research", title="Not a medical device; not for diagnosis."
        )
        with html.Div(classes="tabs"):
            for name, text, tip in (
                ("annotate", "Annotate", "Scans and their masks"),
                ("simulate", "Simulate", "What a sequence and its parameters make of a head with a lesion"),
            ):
                button("tab", "", tip, text=text, args=[name], on=f"tab === '{name}'", classes="tab")
        with html.Div(classes="title"):
            html.Span("{{ ui.open_image || 'No scan is open' }}", classes="title-name")
            html.Span(
                "unsubmitted",
                v_if=("ui.dirty",),
                classes="unsaved",
                title="Kept on this computer until submitted",
            )
        with (
            html.Div(classes="sequences", v_if=("ui.sequences.length > 1",)),
            html.Button(
                v_for=("name, i in ui.sequences",),
                key="i",
                classes=("i === shown_sequence ? 'chip on' : 'chip'",),
                click=run("sequence", "i"),
                title="Show this scan of the visit; the mask stays (Q)",
            ),
        ):
            html.Span("{{ name }}")
        v3.VSpacer()
        with html.Div(classes="progress", title="Scans with a submitted mask"):
            html.Span("{{ ui.completed }} / {{ ui.total }}")
            html.Span("labelled", classes="dim")
        with html.Button(
            classes="server", click=run("toggle", "'show_settings'"), title="Server and settings"
        ):
            html.Span(classes=("ui.connected ? 'dot ok' : 'dot bad'",))
            html.Span("{{ ui.connected ? ui.server.replace('http://', '') : 'not connected' }}")
        button("toggle", "mdi-cog-outline", "Server and settings", args=["show_settings"])
        button("toggle", "mdi-help-circle-outline", "Keyboard shortcuts (?)", args=["show_help"])


def _empty_state() -> None:
    with html.Div(classes="empty", v_if=("!ui.open_image",)), html.Div(classes="empty-card"):
        html.H2("{{ ui.connected ? 'Open a scan to begin' : 'Connect to your server' }}")
        with html.Ol(v_if=("ui.connected",)):
            html.Li("Press <b>Next scan</b>, or choose one in the list on the left.")
            html.Li("Press <b>Segment</b>: the lesion appears within seconds.")
            html.Li(
                "Correct it with the brush or a few clicks, then <b>Submit</b>. The model learns from it."
            )
        html.P(
            "StrokeLabel needs its MONAI Label server. Start one with <code>make start</code>, then connect.",
            v_if=("!ui.connected",),
        )
        with html.Div(classes="empty-actions"):
            button("next", "mdi-skip-next", "", text="Next scan", when="ui.connected", classes="big")
            button(
                "toggle",
                "mdi-lan-connect",
                "",
                text="Connect",
                args=["show_settings"],
                when="!ui.connected",
                classes="big",
            )
        html.P("Or drop a NIfTI file or a folder of DICOM files anywhere on this page.", classes="dim")


def _banners() -> None:
    with html.Div(classes="banners"):
        with html.Div(classes="banner bad", v_if=("error",), raw_attrs=['role="alert"']):
            v3.VIcon("mdi-alert-circle-outline", size=18)
            html.Span("{{ error }}", classes="grow", raw_attrs=['data-test="error"'])
            with html.Button(click=run("dismiss_error"), title="Close (Esc)", classes="close"):
                v3.VIcon("mdi-close", size=18)
        with html.Div(classes="banner", v_if=("pages > 1",)):
            v3.VIcon("mdi-content-copy", size=18)
            html.Span(
                "This page is open in {{ pages }} windows: all show the same scan and undo each other's work. "
                "Close the others; a second annotator needs a page of their own (strokelabel browse --port)."
            )
        with html.Div(classes="banner busy", v_if=("ui.busy || uploading",)):
            v3.VProgressCircular(indeterminate=True, size=16, width=2, color="primary")
            with html.Div(classes="grow"):
                more = "{{ ui.percent === null ? ' …' : '' }}"
                html.Div(f"{{{{ ui.busy || uploading }}}}{more}", raw_attrs=['data-test="busy"'])
                v3.VProgressLinear(
                    v_if=("ui.percent !== null",),
                    model_value=("ui.percent",),
                    color="primary",
                    height=4,
                    rounded=True,
                    classes="busy-bar",
                    raw_attrs=['data-test="progress"'],
                )
            with html.Button(
                v_if=("ui.can_cancel",), click=run("cancel"), title="Cancel (Esc)", classes="link"
            ):
                html.Span("Cancel")
    with html.Div(classes="dropzone"):
        html.Div("Drop to upload: a NIfTI file, or a folder of DICOM files")


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

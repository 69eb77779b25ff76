"""Simulate tab: controls on the right; picture, signals and tissue values in the middle."""

from __future__ import annotations

import base64
from typing import Any

from StrokeLabelLib.client.simulation import Curve, Parameter, SimulatedScan
from StrokeLabelLib.session.simulation_state import SimulationState
from trame.widgets import html

from .widgets import button, run, section

COLORS = {"gray": "#9fb0bd", "white": "#efe6c8", "csf": "#5aa7e8", "lesion": "#ff5247"}
TITLES = {"gray": "gray matter", "white": "white matter", "csf": "fluid (CSF)", "lesion": "lesion"}
PLOT = (600, 150)
"""Width and height of the plot of signals, in its own units."""


def as_page_state(state: SimulationState) -> dict[str, Any]:
    """Return the variables of the tab's templates, as JSON."""
    scan = state.scan
    return {
        "sequences": [{"name": each.name, "title": each.title} for each in state.offer.sequences],
        "sequence": state.sequence.name,
        "title": state.sequence.title,
        "equation": state.sequence.equation,
        "lesions": list(state.offer.lesions),
        "lesion": state.lesion,
        "sliders": _sliders(state),
        "hold": state.hold,
        "problem": state.problem,
        "picture": f"data:image/png;base64,{base64.b64encode(scan.picture).decode()}" if scan else "",
        "slices": list(scan.slices) if scan else [],
        "tissues": _rows(scan) if scan else [],
        "plot": _plot(state, scan) if scan else None,
        "notes": " ".join(scan.notes) if scan else "",
    }


def slider_values(state: SimulationState) -> dict[str, Any]:
    """Return the positions of the sliders, and the flags, by name.

    The page moves its own copy; the number of resets makes that of a reset a new one.
    """
    flags = {each.name for each in state.sliders if each.kind == "flag"}
    values = {name: bool(value) if name in flags else value for name, value in state.values.items()}
    return {**values, "resets": state.resets}


def _sliders(state: SimulationState) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "title": each.title,
            "kind": each.kind,
            "low": each.low,
            "high": each.high,
            "step": each.step,
            "text": each.text(state.values[each.name]),
        }
        for each in state.sliders
    ]


def _rows(scan: SimulatedScan) -> list[dict[str, Any]]:
    brightest = max((abs(row.signal) for row in scan.tissues), default=0.0)
    decimals = 1 if brightest >= 10 else 3
    return [
        {
            "name": row.name,
            "title": TITLES.get(row.name, row.name),
            "color": COLORS.get(row.name, "#ffffff"),
            "pd": f"{row.pd:.0f}",
            "t1": f"{row.t1_ms:.0f}",
            "t2": f"{row.t2_ms:.0f}",
            "t2_star": f"{row.t2_star_ms:.0f}",
            "signal": f"{abs(row.signal):.{decimals}f}",
            "inverted": row.signal < 0,
            "share": round(100 * min(abs(row.signal) / max(scan.white, 1e-9), 1)),
        }
        for row in scan.tissues
    ]


def _plot(state: SimulationState, scan: SimulatedScan) -> dict[str, Any] | None:
    """Return the plot of the magnitudes along the parameter that was changed last."""
    curve = scan.curve
    along = next((each for each in state.sliders if curve and each.name == curve.parameter), None)
    if curve is None or along is None or not curve.values:
        return None
    ends = {"low": along.text(along.low), "high": along.text(along.high)}
    now = state.values[along.name]
    return {"title": along.title, "now": along.text(now), "svg": _svg(curve, along, now), **ends}


def _svg(curve: Curve, along: Parameter, now: float) -> str:
    """Return a line for each tissue, and a dashed one at the present value."""
    width, height = PLOT
    high = max((abs(signal) for signals in curve.signals.values() for signal in signals), default=0.0) or 1.0
    span = max(along.high - along.low, 1e-9)

    def x(value: float) -> float:
        return round(width * min(max((value - along.low) / span, 0), 1), 1)

    parts = [
        f'<svg viewBox="-4 -6 {width + 8} {height + 12}" preserveAspectRatio="none">',
        f'<line x1="0" x2="{width}" y1="{height}" y2="{height}" stroke="#37424c"/>',
    ]
    for name, signals in curve.signals.items():
        points = [
            f"{x(value)},{round(height * (1 - abs(signal) / high), 1)}"
            for value, signal in zip(curve.values, signals, strict=False)
        ]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLORS.get(name, "#ffffff")}" '
            'stroke-width="2" vector-effect="non-scaling-stroke"/>'
        )
    parts.append(
        f'<line x1="{x(now)}" x2="{x(now)}" y1="-6" y2="{height + 6}" stroke="#e6ebef" '
        'stroke-dasharray="4 3" vector-effect="non-scaling-stroke"/></svg>'
    )
    return "".join(parts)


def controls() -> None:
    """Lay out the choices and sliders."""
    with html.Div(classes="panel", v_if=("tab === 'simulate'",), raw_attrs=['data-test="simulate-controls"']):
        section("Sequence")
        _choice("simulate_sequence", "simulation.sequence", "s in simulation.sequences", "s.name", "s.title")
        section("Lesion")
        _choice(
            "simulate_lesion", "simulation.lesion", "s in simulation.lesions", "s", "s.replaceAll('-', ' ')"
        )
        section("Parameters")
        with html.Label(
            v_for=("o in simulation.sliders",), key="simulation.sequence + o.name", classes="sim-row"
        ):
            with html.Div(classes="row"):
                html.Span("{{ o.title }}", classes="label")
                html.Span("{{ o.text }}", classes="value", raw_attrs=[':data-value="o.name"'])
            html.Input(
                v_if=("o.kind === 'flag'",),
                type="checkbox",
                v_model=("simulation_values[o.name]",),
                change=run("simulate_value", "o.name", "$event.target.checked"),
                raw_attrs=[':name="o.name"'],
            )
            dragged = run("simulate_value", "o.name", "$event.target.value")
            html.Input(
                v_else=True,
                type="range",
                min=("o.low",),
                max=("o.high",),
                step=("o.step",),
                v_model=("simulation_values[o.name]",),
                raw_attrs=[':name="o.name"', f'@input="{dragged}"'],
            )
        with html.Label(classes="check", title="While you drag, signals are compared at the same brightness"):
            html.Input(
                type="checkbox",
                checked=("simulation.hold",),
                change=run("simulate_hold", "$event.target.checked"),
                raw_attrs=['data-test="simulate-hold"'],
            )
            html.Span("Keep the brightness")
        button(
            "simulate_reset", "mdi-restore", "The usual clinical values of this sequence", text="Usual values"
        )
        html.Div(
            "{{ simulation.problem }}",
            v_if=("simulation.problem",),
            classes="sim-problem",
            raw_attrs=['data-test="simulate-problem"', 'role="alert"'],
        )


def _choice(command: str, value: str, loop: str, item: str, text: str) -> None:
    with html.Select(
        value=(value,),
        change=run(command, "$event.target.value"),
        classes="sim-choice",
        raw_attrs=[f'data-test="{command}"'],
    ):
        html.Option(
            "{{ " + text + " }}",
            v_for=(loop,),
            key=(item,),
            value=(item,),
            raw_attrs=[f':selected="{item} === {value}"'],  # options may come after the value
        )


def stage() -> None:
    """Lay out the picture, the equation, the signals along the slider, and the tissues."""
    with (
        html.Div(classes="simulate", v_if=("tab === 'simulate'",), raw_attrs=['data-test="simulate"']),
        html.Div(classes="simulate-inner"),
    ):
        with html.Div(classes="sim-head"):
            html.H2("Simulated {{ simulation.title }}")
            html.Span(
                "the ICBM template’s brain with the means of the tissue priors; the patient’s left is on the right",
                classes="dim",
            )
        with html.Div(classes=("simulation.problem ? 'sim-picture stale' : 'sim-picture'",)):
            html.Img(
                src=("simulation.picture",), v_if=("simulation.picture",), raw_attrs=['data-test="simulated"']
            )
        with html.Div(classes="sim-slices dim"):
            html.Span("{{ s }}", v_for=("s in simulation.slices",), key=("s",))
        html.Div("{{ simulation.equation }}", classes="sim-equation", raw_attrs=['data-test="equation"'])
        with html.Div(classes="sim-below"):
            _table()
            _signals()
        html.Div("{{ simulation.notes }}", v_if=("simulation.notes",), classes="dim")


def _table() -> None:
    with html.Table(classes="sim-table", raw_attrs=['data-test="tissues"']):
        with html.Thead(), html.Tr():
            for title in ("", "PD", "T1 ms", "T2 ms", "T2* ms", "signal", ""):
                html.Th(title)
        with html.Tbody(), html.Tr(v_for=("t in simulation.tissues",), key=("t.name",)):
            with html.Td():
                html.I(style=("`background:${t.color}`",))
                html.Span("{{ t.title }}")
            for key in ("pd", "t1", "t2", "t2_star"):
                html.Td("{{ t." + key + " }}")
            html.Td(
                "{{ t.signal }}{{ t.inverted ? ' inv.' : '' }}",
                raw_attrs=[
                    ':data-signal="t.name"',
                    ":title=\"t.inverted ? 'Still inverted: the image shows its magnitude' : ''\"",
                ],
            )
            with html.Td(classes="sim-bar"):
                html.B(style=("`width:${t.share}%; background:${t.color}`",))


def _signals() -> None:
    with html.Div(v_if=("simulation.plot",), classes="sim-plot"):
        html.Div("Signal along {{ simulation.plot.title }}, now {{ simulation.plot.now }}", classes="dim")
        html.Div(v_html=("simulation.plot.svg",))
        with html.Div(classes="row dim"):
            html.Span("{{ simulation.plot.low }}")
            html.Span("{{ simulation.plot.high }}", classes="value")

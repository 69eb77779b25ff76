"""Section "Simulate" of the panel: sliders for a sequence's parameters, the picture, the equation, the tissues."""

from __future__ import annotations

import math
from typing import Any

import qt
import slicer

from ..client.simulation import Parameter, SimulatedScan
from ..session.simulation import Simulation
from ..session.simulation_state import SimulationState

PICTURE_WIDTH = 440
"""Pixels; wider ones would make the whole panel wider."""

HEADERS = ("", "PD", "T1 ms", "T2 ms", "T2* ms", "signal")


class SimulationPanel:
    """The section's widgets.

    Args:
        ui: the widgets of StrokeLabel.ui by name.
    """

    def __init__(self, ui: Any) -> None:  # noqa: ANN401 - Qt's wrappers have no types
        self._ui = ui
        self._layout = qt.QFormLayout(ui.simulationSliders)
        self._rows: list[tuple[Any, Any]] = []
        self._shown = SimulationState()
        self._simulation: Simulation | None = None

    def connect(self, simulation: Simulation) -> None:
        """Send what the user does to the commands of the simulation."""
        self._simulation = simulation
        ui = self._ui
        ui.simulationSection.connect("contentsCollapsed(bool)", self._opened)
        ui.simulationSequenceCombo.connect("currentIndexChanged(int)", self._sequence)
        ui.simulationLesionCombo.connect("currentIndexChanged(int)", self._lesion)
        ui.simulationHoldCheck.connect("toggled(bool)", simulation.hold_brightness)
        ui.simulationResetButton.connect("clicked()", simulation.reset)

    def render(self, state: SimulationState) -> None:
        """Show the choices, and the picture if there is one."""
        before, ui = self._shown, self._ui
        if state == before:
            return
        self._shown = state
        if state.offer != before.offer:
            _fill(ui.simulationSequenceCombo, [(each.title, each.name) for each in state.offer.sequences])
            _fill(ui.simulationLesionCombo, [(name.replace("-", " "), name) for name in state.offer.lesions])
        _choose(ui.simulationSequenceCombo, state.sequence.title)
        _choose(ui.simulationLesionCombo, state.lesion.replace("-", " "))
        if (state.sequence, state.resets) != (before.sequence, before.resets):
            self._set_up_sliders(state)
        ui.simulationEquationLabel.text = state.sequence.equation
        ui.simulationProblemLabel.text = state.problem
        ui.simulationProblemLabel.visible = bool(state.problem)
        if state.scan is not None and state.scan is not before.scan:
            self._show_scan(state.scan)

    def _opened(self, collapsed: bool) -> None:
        if not collapsed and self._simulation is not None:
            self._simulation.show()

    def _sequence(self, _index: int) -> None:
        if self._simulation is not None:
            self._simulation.choose_sequence(self._ui.simulationSequenceCombo.currentData)

    def _lesion(self, _index: int) -> None:
        if self._simulation is not None:
            self._simulation.choose_lesion(self._ui.simulationLesionCombo.currentData)

    def _set_up_sliders(self, state: SimulationState) -> None:
        """Give each parameter a row; rows that are not needed are hidden."""
        while len(self._rows) < len(state.sliders):
            self._add_row()
        for number, (label, slider) in enumerate(self._rows):
            label.visible = slider.visible = number < len(state.sliders)
            if number < len(state.sliders):
                parameter = state.sliders[number]
                label.text = f"{parameter.title}:"
                _set_up(slider, parameter, state.values[parameter.name])

    def _add_row(self) -> None:
        number, label, slider = len(self._rows), qt.QLabel(""), slicer.qMRMLSliderWidget()
        self._layout.addRow(label, slider)
        self._rows.append((label, slider))
        slider.connect("valueChanged(double)", lambda value: self._moved(number, value))

    def _moved(self, number: int, value: float) -> None:
        sliders = self._shown.sliders
        if self._simulation is not None and number < len(sliders):
            parameter = sliders[number]
            self._simulation.set_value(parameter.name, value / parameter.scale)

    def _show_scan(self, scan: SimulatedScan) -> None:
        pixmap = qt.QPixmap()
        pixmap.loadFromData(qt.QByteArray(scan.picture), "PNG")
        self._ui.simulationPictureLabel.setPixmap(
            pixmap.scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation)
        )
        self._ui.simulationTissuesLabel.text = tissue_table(scan)
        self._ui.simulationSlicesLabel.text = " · ".join((*scan.slices, *scan.notes))


def tissue_table(scan: SimulatedScan) -> str:
    """Return the values of the tissues as a table for a label."""
    rows = [
        (
            row.name,
            f"{row.pd:.0f}",
            f"{row.t1_ms:.0f}",
            f"{row.t2_ms:.0f}",
            f"{row.t2_star_ms:.0f}",
            f"{abs(row.signal):.3g}" + (" inverted" if row.signal < 0 else ""),
        )
        for row in scan.tissues
    ]
    lines = ["".join(f"<td align=right>&nbsp;{cell}&nbsp;</td>" for cell in row) for row in (HEADERS, *rows)]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _set_up(slider: Any, parameter: Parameter, value: float) -> None:  # noqa: ANN401
    blocked = slider.blockSignals(True)
    scale, flag = parameter.scale, parameter.kind == "flag"
    step = 1.0 if flag else parameter.step * scale
    slider.decimals = max(0, math.ceil(-math.log10(step) - 1e-9)) if step > 0 else 3
    slider.minimum, slider.maximum = (0.0, 1.0) if flag else (parameter.low * scale, parameter.high * scale)
    slider.singleStep = step
    slider.suffix = parameter.suffix
    slider.value = value * scale
    slider.blockSignals(blocked)


def _fill(combo: Any, choices: list[tuple[str, str]]) -> None:  # noqa: ANN401
    blocked = combo.blockSignals(True)
    combo.clear()
    for text, data in choices:
        combo.addItem(text, data)
    combo.blockSignals(blocked)


def _choose(combo: Any, text: str) -> None:  # noqa: ANN401
    blocked = combo.blockSignals(True)
    combo.currentText = text
    combo.blockSignals(blocked)

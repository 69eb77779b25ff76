"""View of desktop 3D Slicer: puts the presenter's state into widgets and nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import qt
import slicer

from ..mrml.case_nodes import CaseNodes
from ..session.case import Case
from ..session.presenter import Presenter
from ..session.view import Overlay, Prompt, Question, ViewState
from ..volume import Volume
from .layouts import LAYOUT_ID, side_by_side, view_names
from .option_form import OptionForm
from .simulation_panel import SimulationPanel

SlicerObject: TypeAlias = Any
"""An object of Slicer or Qt, whose wrappers have no types."""

BUTTONS = {
    "connectButton": "connect",
    "testButton": "test_connection",
    "refreshButton": "refresh",
    "nextButton": "next",
    "uploadButton": "upload",
    "uploadNodeButton": "upload",
    "segmentButton": "segment",
    "cancelButton": "cancel",
    "lesionPointButton": "refine",
    "notLesionPointButton": "refine",
    "refineButton": "refine",
    "thresholdSlider": "threshold",
    "addRegionButton": "refine",
    "removeIslandButton": "refine",
    "applyOperationButton": "apply",
    "undoButton": "undo",
    "redoButton": "redo",
    "overlayCombo": "overlay",
    "nextUncertainButton": "next_uncertain",
    "compareButton": "compare",
    "exportButton": "export",
    "reportButton": "report",
    "acceptButton": "accept",
    "rejectButton": "reject",
    "submitButton": "submit",
    "submitNextButton": "submit_and_next",
    "trainButton": "train",
    "stopTrainingButton": "stop_training",
    "simulationResetButton": "simulate",
}
"""Widget -> the command that decides whether it can be used."""


class QtView:
    """View in desktop 3D Slicer.

    Args:
        ui: the widgets of StrokeLabel.ui by name.
        nodes: of the open case.
    """

    def __init__(self, ui: SlicerObject, nodes: CaseNodes) -> None:
        self._ui, self._nodes = ui, nodes
        self._tips = {name: getattr(ui, name).toolTip for name in BUTTONS}
        self._listed: tuple = ()
        self._models: tuple = ()
        self._stages: tuple[str, ...] = ()
        self._titles: tuple[str, ...] = ()
        self._segment_form, self.train_form = OptionForm(ui.segmentOptions), OptionForm(ui.trainOptions)
        self._simulation = SimulationPanel(ui)

    def connect(self, presenter: Presenter) -> None:
        """Send what the user does in forms and in the simulation to the presenter."""
        self._segment_form.changed = presenter.segmentation.set_option
        self._simulation.connect(presenter.simulation)

    def render(self, state: ViewState) -> None:
        """Show texts, numbers, and which buttons can be used."""
        ui = self._ui
        for name, command in BUTTONS.items():
            widget = getattr(ui, name)
            widget.enabled = state.can(command)
            widget.toolTip = state.blocked.get(command) or self._tips[name]
        ui.statusLabel.text = state.busy_text or state.status
        self._render_busy(state)
        ui.serverLabel.text = state.server_text if state.connected else "Not connected"
        ui.casesBar.maximum, ui.casesBar.value = max(state.total, 1), state.completed
        ui.undoButton.text = f"Undo {state.undo_name}".strip()
        ui.redoButton.text = f"Redo {state.redo_name}".strip()
        self._render_measurements(state)
        self._render_training(state)
        self._render_lists(state)
        self._segment_form.show(state.options)
        self.train_form.show(state.train_options)
        self._simulation.render(state.simulation)

    def show_case(self, case: Case | None) -> None:
        """Show the scans of a case in all slice views, and give its segmentation to the Segment Editor."""
        self._ui.segmentEditor.setActiveEffectByName("")
        self._nodes.show_case(case)
        self._ui.segmentEditor.setSegmentationNode(self._nodes.segmentation)
        if case is None:
            return
        self._titles = tuple(sequence.image.sequence for sequence in case.sequences)
        self._ui.segmentEditor.setSourceVolumeNode(self._nodes.scans[0])
        self._ui.segmentEditor.setCurrentSegmentID("lesion")
        slicer.util.resetSliceViews()

    def show_mask(self, mask: Volume) -> None:
        """Show the mask as the segment "lesion"."""
        self._nodes.show_mask(mask)

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Show an overlay over the scan."""
        self._nodes.show_overlay(overlay)

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        """Show clicks that were not used yet."""
        self._nodes.show_prompts(prompts)

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point."""
        self._nodes.jump_to(point_mm)

    def open_page(self, page: bytes) -> None:
        """Open a page (HTML) in the user's browser."""
        path = Path(slicer.app.temporaryPath) / "strokelabel-report.html"
        path.write_bytes(page)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def show_error(self, sentence: str) -> None:
        """Show what went wrong until the user has read it."""
        slicer.util.errorDisplay(sentence, windowTitle="StrokeLabel")

    def ask(self, question: Question, reply: Callable[[str], None]) -> None:
        """Ask in a dialog."""
        box = qt.QMessageBox(slicer.util.mainWindow())
        box.setWindowTitle("StrokeLabel")
        box.setText(question.text)
        keys = list(question.answers)
        buttons = [box.addButton(question.answers[key], qt.QMessageBox.AcceptRole) for key in keys]
        box.setDefaultButton(buttons[0])
        box.exec_()
        clicked = box.clickedButton()
        reply(next((key for key, button in zip(keys, buttons) if button == clicked), keys[0]))

    def set_side_by_side(self, on: bool) -> None:
        """Show the sequences of the visit in views of their own, or one in the usual layout."""
        node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        if not on:
            node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
            self._nodes.show_scan(0)
            return
        description = side_by_side(self._titles)
        if node.IsLayoutDescription(LAYOUT_ID):
            node.SetLayoutDescription(LAYOUT_ID, description)
        else:
            node.AddLayoutDescription(LAYOUT_ID, description)
        node.SetViewArrangement(LAYOUT_ID)
        self._nodes.show_side_by_side(view_names(len(self._titles)))
        slicer.util.resetSliceViews()

    def toggle_mask(self) -> None:
        """Show or hide the mask."""
        if self._nodes.segmentation is not None:
            display = self._nodes.segmentation.GetDisplayNode()
            display.SetVisibility(not display.GetVisibility())

    def _render_measurements(self, state: ViewState) -> None:
        ui, m = self._ui, state.measurements
        ui.volumeLabel.text = f"{m.volume_ml:.2f} ml"
        ui.countLabel.text = str(m.count)
        ui.diceLabel.text = (
            "" if m.dice_to_model is None else f"{m.dice_to_model:.3f} ({m.changed_ml:.2f} ml changed)"
        )
        ui.structuresLabel.text = "\n".join(m.structures)
        ui.structuresLabel.visible = bool(m.structures)
        ui.outcomeLabel.text = "\n".join(m.outcome)
        ui.outcomeLabel.visible = bool(m.outcome)
        blocked = ui.thresholdSlider.blockSignals(True)
        ui.thresholdSlider.value = 0.5 if state.threshold is None else state.threshold
        ui.thresholdSlider.blockSignals(blocked)

    def _render_busy(self, state: ViewState) -> None:
        """Show how far it is, or a bar without end where that is not known."""
        bar, known = self._ui.busyBar, state.progress is not None and bool(state.progress.stage)
        bar.visible = bool(state.busy)
        bar.maximum = 100 if known else 0
        bar.value = round(100 * state.progress.fraction) if state.progress else 0

    def _render_training(self, state: ViewState) -> None:
        ui, training = self._ui, state.training
        ui.trainBar.maximum, ui.trainBar.value = max(training.epochs, 1), training.epoch
        best = f"best Dice {training.best_metric:.3f}. " if training.best_metric else ""
        ui.trainLabel.text = f"{best}{training.message}"

    def _render_stages(self, state: ViewState) -> None:
        combo = self._ui.stageCombo
        combo.visible = self._ui.stageLabel.visible = bool(state.stroke_stages)
        combo.enabled = bool(state.open_image)
        blocked = combo.blockSignals(True)
        if state.stroke_stages != self._stages:
            self._stages = state.stroke_stages
            combo.clear()
            combo.addItems(list(state.stroke_stages))
        combo.currentText = state.stroke_stage or next(iter(state.stroke_stages), "")
        combo.blockSignals(blocked)

    def _render_lists(self, state: ViewState) -> None:
        ui = self._ui
        if state.models != self._models:
            self._models = state.models
            blocked = ui.modelCombo.blockSignals(True)
            ui.modelCombo.clear()
            for model in state.models:
                ui.modelCombo.addItem(model.title, model.name)
            ui.modelCombo.blockSignals(blocked)
        self._render_stages(state)
        titles = {model.name: model.title for model in state.models}
        ui.modelCombo.currentText = titles.get(state.model, state.model)
        listed = (state.images, state.open_image)
        if listed == self._listed:
            return
        self._listed = listed
        ui.caseTree.clear()
        for image in state.images:
            item = qt.QTreeWidgetItem([image.image_id, image.status])
            ui.caseTree.addTopLevelItem(item)
            if image.image_id == state.open_image:
                ui.caseTree.setCurrentItem(item)

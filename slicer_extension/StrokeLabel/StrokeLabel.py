"""Module of 3D Slicer: connects widgets to the commands of `StrokeLabelLib.session.presenter.Presenter`.

No decision is taken here. Only what Slicer's own Python has is imported; there is no pip step.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from StrokeLabelLib.client.jobs import ThreadRunner
from StrokeLabelLib.desktop.painting import Painting
from StrokeLabelLib.desktop.qt_view import QtView, SlicerObject
from StrokeLabelLib.desktop.shortcuts import Shortcuts
from StrokeLabelLib.mrml.case_nodes import CaseNodes
from StrokeLabelLib.mrml.files import MrmlFiles
from StrokeLabelLib.mrml.volumes import volume_of
from StrokeLabelLib.session.editing import OPERATIONS
from StrokeLabelLib.session.overlays import NAMES
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.session import default_folder
from StrokeLabelLib.session.settings import load_settings, save_settings

PUMP_MS, TICK_MS, COMMIT_MS = 50, 1000, 400


class StrokeLabel(ScriptedLoadableModule):
    """Description of the module in Slicer."""

    def __init__(self, parent: SlicerObject) -> None:
        super().__init__(parent)
        self.parent.title = "StrokeLabel"
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = ["SegmentEditor", "Markups", "Terminologies"]
        self.parent.contributors = ["The StrokeLabel developers"]
        self.parent.helpText = _(
            "Segment a stroke lesion on any brain MRI, correct it, submit it; the model learns."
        )
        self.parent.acknowledgementText = _("Not a medical device; for research only.")
        slicer.app.connect("startupCompleted()", load_terminology)


def load_terminology() -> None:
    """Make "Infarct" known to Slicer, whose own terminologies do not have it."""
    path = Path(__file__).parent / "Resources" / "StrokeLabel.term.json"
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(path))


@parameterNodeWrapper
class StrokeLabelParameterNode:
    """Settings that are saved with the scene; StrokeLabel.ui names the widgets."""

    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    operationParameter: Annotated[float, WithinRange(-50.0, 50.0)] = 2.0
    refineAtOnce: bool = True
    segmentOnOpen: bool = False
    loadSequences: bool = True


class StrokeLabelLogic(ScriptedLoadableModuleLogic):
    """Parameter node of the module; everything else is in StrokeLabelLib."""

    def getParameterNode(self) -> SlicerObject:  # noqa: N802 - Slicer's name
        """Return the module's node in the scene."""
        make: SlicerObject = StrokeLabelParameterNode  # with the constructor that the decorator gave it
        return make(super().getParameterNode())


class StrokeLabelWidget(ScriptedLoadableModuleWidget):
    """Panel of the module."""

    def setup(self) -> None:
        """Build the panel from StrokeLabel.ui and connect it."""
        super().setup()
        widget = slicer.util.loadUI(self.resourcePath("UI/StrokeLabel.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui.uploadNodeSelector.setMRMLScene(slicer.mrmlScene)
        self._settings_path = default_folder() / "settings.json"
        self.nodes = CaseNodes(slicer.mrmlScene)
        self.runner = ThreadRunner()
        self.view = QtView(self.ui, self.nodes)
        settings = load_settings(self._settings_path)
        self.presenter = Presenter(self.view, self.runner, settings, files=MrmlFiles())
        self.view.connect(self.presenter)
        self._set_up_segment_editor()
        self.painting = Painting(self.nodes, self.presenter, self._effect_name)
        self._fill_choices()
        self._connect_parameters(widget)
        self._connect_buttons()
        self._timers = [self._timer(PUMP_MS, self._pump), self._timer(TICK_MS, self.presenter.tick)]
        self._commit = self._timer(COMMIT_MS, self._commit_threshold, single_shot=True)
        self.shortcuts = Shortcuts(self._shortcut_commands())
        self.presenter.start()

    def enter(self) -> None:
        """Enter the module: Slicer shows it."""
        self.ui.segmentEditor.setupViewObservations()
        self.shortcuts.install()

    def exit(self) -> None:
        """Leave the module: Slicer shows another one."""
        self.ui.segmentEditor.setActiveEffectByName("")
        self.ui.segmentEditor.removeViewObservations()
        self.shortcuts.remove()

    def cleanup(self) -> None:
        """Save unsubmitted work when Slicer ends or reloads the module."""
        for timer in (*self._timers, self._commit):
            timer.stop()
        self.shortcuts.remove()
        self.painting.stop()
        self.presenter.shut_down()
        save_settings(self.presenter.settings, self._settings_path)

    def _set_up_segment_editor(self) -> None:
        editor = self.ui.segmentEditor
        node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("SegmentEditor")
            node = slicer.mrmlScene.AddNode(node)
        editor.setMRMLSegmentEditorNode(node)
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setUndoEnabled(False)  # one history for all: the presenter's

    def _effect_name(self) -> str:
        effect = self.ui.segmentEditor.activeEffect()
        return effect.name if effect else ""

    def _connect_parameters(self, widget: SlicerObject) -> None:
        settings = self.presenter.settings
        self.parameters = StrokeLabelLogic().getParameterNode()
        self.parameters.overlayOpacity = settings.overlay_opacity
        self.parameters.refineAtOnce = settings.refine_at_once
        self.parameters.segmentOnOpen = settings.segment_on_open
        self.parameters.loadSequences = settings.load_sequences
        self.parameters.connectGui(widget)

    def _fill_choices(self) -> None:
        settings = self.presenter.settings
        self.ui.serverCombo.addItems(settings.servers or [settings.server])
        self.ui.clientEdit.text = settings.client_id
        self.ui.overlayCombo.addItems(["", *NAMES])
        for key, operation in OPERATIONS.items():
            self.ui.operationCombo.addItem(_(operation.title), key)

    def _connect_buttons(self) -> None:
        ui, p = self.ui, self.presenter
        for name, command in {
            "connectButton": lambda: p.connection.connect(ui.serverCombo.currentText, ui.tokenEdit.text),
            "testButton": lambda: p.connection.test(ui.serverCombo.currentText, ui.tokenEdit.text),
            "startHelpButton": self._show_start_command,
            "refreshButton": p.cases.refresh,
            "nextButton": p.cases.next,
            "uploadButton": self._upload,
            "uploadNodeButton": self._upload_node,
            "segmentButton": p.segmentation.segment,
            "cancelButton": p.cancel,
            "lesionPointButton": lambda: self.painting.start_placing("lesion"),
            "notLesionPointButton": lambda: self.painting.start_placing("not lesion"),
            "refineButton": p.segmentation.refine,
            "clearPointsButton": p.segmentation.clear_prompts,
            "addRegionButton": lambda: self.painting.start_placing("add region"),
            "removeIslandButton": lambda: self.painting.start_placing("remove island"),
            "applyOperationButton": self._apply_operation,
            "undoButton": p.editing.undo,
            "redoButton": p.editing.redo,
            "nextUncertainButton": p.overlays.next_uncertain_region,
            "compareButton": lambda: p.overlays.show("model"),
            "exportButton": self._export,
            "reportButton": lambda: p.segmentation.fetch_report(self.view.open_page),
            "acceptButton": lambda: p.submission.accept(then_next=True),
            "rejectButton": lambda: p.submission.reject(then_next=True),
            "submitButton": p.submission.submit,
            "submitNextButton": lambda: p.submission.submit(then_next=True),
            "trainButton": lambda: p.training.start(self.view.train_form.values()),
            "stopTrainingButton": p.training.stop,
        }.items():
            getattr(ui, name).connect("clicked()", command)
        ui.thresholdSlider.connect("valueChanged(double)", self._drag_threshold)
        ui.sideBySideButton.connect("toggled(bool)", self.view.set_side_by_side)
        ui.overlayCombo.connect("currentTextChanged(QString)", p.overlays.show)
        ui.modelCombo.connect("currentTextChanged(QString)", self._choose_model)
        ui.stageCombo.connect("currentTextChanged(QString)", p.segmentation.set_stroke_stage)
        ui.operationCombo.connect("currentIndexChanged(int)", self._choose_operation)
        ui.caseTree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._open)
        ui.clientEdit.connect("editingFinished()", self._take_settings)
        for name in ("refineAtOnceCheck", "segmentOnOpenCheck", "loadSequencesCheck"):
            getattr(ui, name).connect("toggled(bool)", self._take_settings)
        ui.overlayOpacitySlider.connect("valueChanged(double)", self._take_settings)

    def _shortcut_commands(self) -> dict[str, Callable[[], None]]:
        p = self.presenter
        return {
            "segment": p.segmentation.segment,
            "submit_and_next": lambda: p.submission.submit(then_next=True),
            "next_uncertain": p.overlays.next_uncertain_region,
            "undo": p.editing.undo,
            "redo": p.editing.redo,
            "lesion_point": lambda: self.painting.start_placing("lesion"),
            "not_lesion_point": lambda: self.painting.start_placing("not lesion"),
            "toggle_mask": self.view.toggle_mask,
            "cancel": p.cancel,
        }

    def _timer(self, interval_ms: int, slot: Callable[[], None], single_shot: bool = False) -> qt.QTimer:
        timer = qt.QTimer()
        timer.setInterval(interval_ms)
        timer.setSingleShot(single_shot)
        timer.connect("timeout()", slot)
        if not single_shot:
            timer.start()
        return timer

    def _pump(self) -> None:
        case = self.presenter.session.case
        self.runner.pump()
        if self.presenter.session.case is not case:
            self.painting.watch_case()

    def _take_settings(self, *_args: object) -> None:
        settings, ui = self.presenter.settings, self.ui
        settings.client_id = ui.clientEdit.text or settings.client_id
        settings.refine_at_once = ui.refineAtOnceCheck.checked
        settings.segment_on_open = ui.segmentOnOpenCheck.checked
        settings.load_sequences = ui.loadSequencesCheck.checked
        settings.overlay_opacity = ui.overlayOpacitySlider.value

    def _drag_threshold(self, value: float) -> None:
        self.presenter.segmentation.drag_threshold(value)
        self._commit.start()

    def _commit_threshold(self) -> None:
        self.presenter.segmentation.set_threshold(self.ui.thresholdSlider.value)

    def _choose_model(self, _title: str) -> None:
        settings = self.presenter.settings
        settings.model = self.ui.modelCombo.currentData or settings.model

    def _choose_operation(self, _index: int) -> None:
        defaults = OPERATIONS[self.ui.operationCombo.currentData].defaults
        self.ui.operationParameterSpin.enabled = bool(defaults)
        self.ui.operationParameterLabel.text = next(iter(defaults), "").replace("_", " ")
        self.ui.operationParameterSpin.value = next(iter(defaults.values()), 0.0)

    def _apply_operation(self) -> None:
        key = self.ui.operationCombo.currentData
        named = dict.fromkeys(OPERATIONS[key].defaults, self.ui.operationParameterSpin.value)
        self.presenter.editing.apply(key, **named)

    def _open(self, item: SlicerObject, _column: int) -> None:
        self.presenter.cases.open(item.text(0))

    def _upload(self) -> None:
        path = qt.QFileDialog.getOpenFileName(None, _("Upload a scan"), "", "*.nii *.nii.gz *.nrrd *.mha")
        if path:
            self.presenter.cases.upload(Path(path))

    def _upload_node(self) -> None:
        node = self.ui.uploadNodeSelector.currentNode()
        if node:
            self.presenter.cases.upload_volume(volume_of(node), node.GetName())

    def _export(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            None, _("Save the mask"), "mask.nii.gz", "NIfTI (*.nii.gz *.nii)"
        )
        if path:
            self.presenter.submission.export(Path(path))

    def _show_start_command(self) -> None:
        command = self.presenter.connection.start_command()
        slicer.util.infoDisplay(_("In the folder of StrokeLabel, type:") + f"\n\n{command}")


class StrokeLabelTest(ScriptedLoadableModuleTest):
    """Slicer's self test; the same runs by CTest and, with slicer-core, in the repository's tests."""

    def runTest(self) -> None:  # noqa: N802 - Slicer's name
        """Run the tests of the library that need MRML."""
        from StrokeLabelLib.mrml.self_test import StrokeLabelSelfTest

        suite = unittest.defaultTestLoader.loadTestsFromTestCase(StrokeLabelSelfTest)
        result = unittest.TextTestRunner().run(suite)
        self.assertTrue(result.wasSuccessful())

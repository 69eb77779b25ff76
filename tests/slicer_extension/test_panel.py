"""The panel's code, run with stand-ins for Qt on real MRML and real HTTP; `qt_stand_in` says what that shows."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from StrokeLabelLib.client.answers import ModelInfo
from StrokeLabelLib.mrml.segments import show_mask
from StrokeLabelLib.mrml.volumes import add_volume
from StrokeLabelLib.volume import Volume, onto_grid

from support import qt_stand_in
from support.small_server import PAGE, SIMULATION, Store, serving
from support.walk_data import AFFINES, LESION_MM, REPOSITORY, beside_lesion, scan_and_lesion

MODULE = REPOSITORY / "slicer_extension" / "StrokeLabel"
SCAN, FLAIR = "sub-1_T1w", "sub-1_FLAIR"


@pytest.fixture
def store() -> Store:
    scans = {
        name: Volume(scan_and_lesion(AFFINES[axes])[0], AFFINES[axes])
        for name, axes in ((SCAN, "LIA"), (FLAIR, "RAS"))
    }
    return Store(scans)


class Panel:
    """The widget of the module, and fingers."""

    def __init__(self, widget, stand_in: SimpleNamespace) -> None:
        self.widget, self.stand_in, self.ui = widget, stand_in, stand_in.ui

    def click(self, button: str) -> None:
        assert getattr(self.ui, button).enabled, getattr(self.ui, button).toolTip
        getattr(self.ui, button).emit("clicked()")
        self.wait(lambda: not self.widget.presenter.state.busy)

    def wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not until():
            assert time.monotonic() < deadline
            self.widget._pump()
            time.sleep(0.005)

    def place(self, kind: str, point: np.ndarray) -> None:
        self.widget.nodes.prompts[kind].AddControlPoint(*map(float, point))
        self.wait(lambda: not self.widget.presenter.state.busy)

    def paint(self, point: np.ndarray) -> None:
        """What the Segment Editor's brush does: the segment changes, and its node says so."""
        nodes = self.widget.nodes
        mask = nodes.painted_mask()
        mask.data[mask.grid.to_voxel(point)] = 1
        show_mask(nodes.segmentation, mask)

    @property
    def state(self):
        return self.widget.presenter.state


@pytest.fixture
def panel(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    monkeypatch.setenv("HOME", str(tmp_path))
    stand_in = qt_stand_in.install(monkeypatch, MODULE)
    for name in [n for n in sys.modules if n == "StrokeLabel" or n.startswith("StrokeLabelLib.desktop")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("StrokeLabel")
    module.StrokeLabel(SimpleNamespace())
    widget = module.StrokeLabelWidget()
    widget.setup()
    widget.enter()
    with serving(store) as url:
        stand_in.ui.serverCombo.currentText = url
        yield Panel(widget, stand_in)
        widget.exit()
        widget.cleanup()
    for name in [n for n in sys.modules if n == "StrokeLabel" or n.startswith("StrokeLabelLib.desktop")]:
        del sys.modules[name]


def open_first(panel: Panel) -> None:
    panel.click("connectButton")
    panel.click("nextButton")


def test_the_empty_panel_says_what_to_do_and_why_buttons_are_off(panel: Panel) -> None:
    assert panel.ui.statusLabel.text == "Connect to a server, then open a scan."
    assert (
        not panel.ui.segmentButton.enabled and panel.ui.segmentButton.toolTip == "Connect to a server first."
    )
    assert panel.ui.connectButton.enabled and panel.ui.serverLabel.text == "Not connected"
    assert [text for text, _ in panel.ui.overlayCombo.items][:2] == ["", "probability"]


def test_the_bar_fills_as_far_as_the_server_tells_and_has_no_end_else(panel: Panel, store: Store) -> None:
    open_first(panel)
    store.hold = threading.Event()
    panel.ui.segmentButton.emit("clicked()")
    assert panel.ui.busyBar.visible and panel.ui.busyBar.maximum == 0
    panel.wait(lambda: bool(store.requested))
    store.progress = {"state": "running", "stage": "adapting", "fraction": 0.25, "remaining_s": 200}
    panel.widget.presenter.tick()
    panel.wait(lambda: panel.ui.busyBar.value == 25)
    assert panel.ui.busyBar.maximum == 100
    assert panel.ui.statusLabel.text.endswith(": adapting, 25 %, about 3 min left")
    store.hold.set()
    panel.wait(lambda: not panel.state.busy)
    assert not panel.ui.busyBar.visible


def test_structures_are_listed_below_the_volume_where_the_server_tells_them(
    panel: Panel, store: Store
) -> None:
    open_first(panel)
    panel.click("segmentButton")
    panel.wait(lambda: panel.state.can("threshold"))
    assert not panel.ui.structuresLabel.visible
    store.structures = {"text": ["left 12.9 ml", "left putamen 3.1 ml (52 %)"]}
    panel.click("segmentButton")
    panel.wait(lambda: panel.ui.structuresLabel.visible)
    assert panel.ui.structuresLabel.text == "left 12.9 ml\nleft putamen 3.1 ml (52 %)"


def test_the_stage_of_the_stroke_is_said_where_the_server_estimates_an_outcome(
    panel: Panel, store: Store
) -> None:
    open_first(panel)
    assert not panel.ui.stageCombo.visible and not panel.ui.outcomeLabel.visible
    store.outcome = {
        "unknown": {"stroke_stage": "unknown", "text": ["no NIHSS is estimated: not said"]},
        "acute": {
            "stroke_stage": "acute",
            "text": ["estimated NIHSS 9; research use only", "driven by: left insula"],
        },
    }
    open_first(panel)
    assert panel.ui.stageCombo.visible and panel.ui.stageLabel.visible
    assert [text for text, _ in panel.ui.stageCombo.items] == ["unknown", "acute"]
    panel.click("segmentButton")
    panel.wait(lambda: panel.state.can("threshold"))
    assert panel.ui.outcomeLabel.text == "no NIHSS is estimated: not said"
    panel.ui.stageCombo.currentText = "acute"
    panel.ui.stageCombo.emit("currentTextChanged(QString)", "acute")
    assert panel.ui.outcomeLabel.text.startswith("Segment again")
    panel.click("segmentButton")
    panel.wait(lambda: "9" in panel.ui.outcomeLabel.text)
    assert panel.ui.outcomeLabel.text == "estimated NIHSS 9; research use only\ndriven by: left insula"
    assert panel.ui.stageCombo.currentText == "acute" and panel.ui.outcomeLabel.visible


def test_a_server_is_tested_and_the_command_that_starts_one_is_shown(panel: Panel) -> None:
    panel.click("testButton")
    assert "answers: StrokeLabel 0" in panel.ui.statusLabel.text
    panel.click("startHelpButton")
    assert "make start" in panel.stand_in.errors[-1]


def test_a_case_goes_through_the_panel_from_next_to_submit(panel: Panel, store: Store) -> None:
    open_first(panel)
    assert panel.ui.caseTree.current.text(0) == SCAN and panel.ui.casesBar.maximum == 2
    panel.click("segmentButton")
    panel.wait(lambda: panel.state.can("threshold"))
    assert panel.ui.volumeLabel.text.endswith(" ml") and panel.ui.countLabel.text == "1"
    before = panel.state.measurements.volume_ml
    panel.paint(beside_lesion(0, 20, 0))
    assert panel.state.undo_name == "Paint" and panel.state.measurements.volume_ml > before
    panel.place("add region", beside_lesion(0, 0, 0))
    panel.place("lesion", beside_lesion(-12, 14, -8))
    assert panel.state.undo_name == "Refine by a click"
    panel.place("remove island", beside_lesion(0, 20, 0))
    assert panel.state.undo_name == "Remove island" and panel.ui.undoButton.text == "Undo Remove island"
    panel.click("undoButton")
    panel.click("redoButton")
    shown = panel.widget.nodes.painted_mask().data
    panel.click("submitButton")
    assert np.array_equal(store.labels[SCAN, "final"][0].data, shown) and not panel.stand_in.errors
    assert panel.ui.casesBar.value == 1
    panel.click("submitNextButton")
    assert panel.state.open_image == FLAIR


def test_the_list_of_models_has_titles_and_the_chosen_one_is_asked(panel: Panel) -> None:
    open_first(panel)
    slow = ModelInfo("segment_tissues", "segmentation", seconds=170.0)
    state = replace(panel.state, models=(ModelInfo("segment"), slow), model="segment")
    panel.widget.view.render(state)
    assert panel.ui.modelCombo.currentText == "segment"
    panel.ui.modelCombo.currentText = "segment_tissues (about 3 min)"
    panel.ui.modelCombo.emit("currentTextChanged(QString)", "segment_tissues (about 3 min)")
    assert panel.widget.presenter.settings.model == "segment_tissues"


def test_the_slider_previews_and_takes_one_step(panel: Panel) -> None:
    open_first(panel)
    panel.click("segmentButton")
    panel.wait(lambda: panel.state.can("threshold"))
    for value in (0.6, 0.4, 0.2):
        panel.ui.thresholdSlider.value = value
        panel.ui.thresholdSlider.emit("valueChanged(double)", value)
    assert panel.state.undo_name == "Segment" and panel.widget._commit.running
    panel.widget._commit.emit("timeout()")
    assert panel.state.undo_name == "Threshold 0.20" and panel.ui.thresholdSlider.value == 0.2


def test_operations_have_their_parameter_and_overlays_are_nodes(panel: Panel) -> None:
    open_first(panel)
    panel.click("segmentButton")
    panel.ui.operationCombo.currentText = "Margin"
    panel.ui.operationCombo.emit("currentIndexChanged(int)", 1)
    assert panel.ui.operationParameterLabel.text == "margin mm"
    panel.ui.operationParameterSpin.value = 3.0
    panel.click("applyOperationButton")
    assert panel.state.undo_name == "Margin"
    panel.ui.overlayCombo.emit("currentTextChanged(QString)", "uncertainty")
    panel.wait(lambda: panel.state.overlay == "uncertainty")
    assert panel.stand_in.scene.GetFirstNodeByName("uncertainty") is not None
    panel.click("compareButton")
    assert panel.stand_in.scene.GetFirstNodeByName("uncertainty") is None and panel.state.overlay == "model"


def test_sequences_are_shown_side_by_side_and_the_mask_hidden(panel: Panel) -> None:
    open_first(panel)
    panel.ui.sideBySideButton.emit("toggled(bool)", True)
    assert panel.stand_in.layout.GetViewArrangement() == 55641
    panel.ui.sideBySideButton.emit("toggled(bool)", False)
    assert panel.stand_in.layout.GetViewArrangement() != 55641
    keys = {shortcut.key: shortcut for shortcut in qt_stand_in.Shortcut.installed}
    keys["H"].emit("activated()")
    assert not panel.widget.nodes.segmentation.GetDisplayNode().GetVisibility()
    keys["G"].emit("activated()")
    panel.wait(lambda: panel.state.undo_name == "Segment")
    keys["F"].emit("activated()")
    interaction = panel.stand_in.application.GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    keys["U"].emit("activated()")


def test_training_and_settings(panel: Panel, store: Store) -> None:
    open_first(panel)
    panel.click("segmentButton")
    panel.click("submitButton")
    panel.click("trainButton")
    assert panel.ui.trainBar.maximum == 20 and panel.ui.trainBar.value == 3
    panel.click("stopTrainingButton")
    panel.ui.clientEdit.text = "reader 9"
    panel.ui.clientEdit.emit("editingFinished()")
    assert panel.widget.presenter.settings.client_id == "reader 9"


def test_files_are_uploaded_and_exported(
    panel: Panel, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from StrokeLabelLib.nifti import NiftiFiles

    open_first(panel)
    monkeypatch.setitem(qt_stand_in.DIALOGS, "getSaveFileName", str(tmp_path / "mask.nii.gz"))
    panel.click("exportButton")
    assert (tmp_path / "mask.nii.gz").exists() and (tmp_path / "mask_report.json").exists()
    NiftiFiles().write(tmp_path / "another.nii.gz", store.scans[SCAN])
    monkeypatch.setitem(qt_stand_in.DIALOGS, "getOpenFileName", str(tmp_path / "another.nii.gz"))
    panel.click("uploadButton")
    assert panel.state.open_image == "another" and not panel.stand_in.errors
    panel.ui.uploadNodeSelector.current = add_volume(panel.stand_in.scene, store.scans[SCAN], "from DICOM")
    panel.click("uploadNodeButton")
    assert panel.state.open_image == "from DICOM" and not panel.stand_in.errors
    uploaded, scan = store.scans["from DICOM"], store.scans[SCAN]
    assert np.array_equal(onto_grid(uploaded, scan.grid).data, scan.data)


def test_the_report_of_the_model_s_lesion_is_opened_once_there_is_one(panel: Panel, store: Store) -> None:
    open_first(panel)
    assert "Segment first" in panel.ui.reportButton.toolTip
    panel.click("segmentButton")
    panel.click("reportButton")
    panel.wait(lambda: bool(panel.stand_in.opened))
    assert panel.stand_in.opened[0].read_bytes() == PAGE and not panel.stand_in.errors
    assert store.params[-1]["result"] == "report"


def test_unsubmitted_work_is_offered_in_a_dialog(
    panel: Panel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_first(panel)
    panel.paint(np.array(LESION_MM))
    monkeypatch.setattr(qt_stand_in.MessageBox, "answer", "Restore it")
    panel.ui.caseTree.emit("itemDoubleClicked(QTreeWidgetItem*,int)", qt_stand_in.TreeItem([SCAN, "new"]), 0)
    panel.wait(lambda: bool(qt_stand_in.MessageBox.asked))
    assert "Unsubmitted work" in qt_stand_in.MessageBox.asked[-1] and panel.state.dirty
    assert panel.widget.nodes.painted_mask().data.sum() == 1


def test_options_of_the_chosen_model_are_a_form_and_reach_the_server(panel: Panel, store: Store) -> None:
    store.config |= {
        "tta": False,
        "threshold": ["likeliest class", "0.2"],
        "min_size_ml": 0.0,
        "result": ["mask"],
    }
    open_first(panel)
    form = panel.ui.segmentOptions.current
    assert [label.text for label, _ in form.rows] == ["tta:", "threshold:", "min size ml:"]
    form.field("tta:").checked = True
    form.field("tta:").emit("toggled(bool)", True)
    form.field("threshold:").currentText = "0.2"
    form.field("threshold:").emit("currentTextChanged(QString)", "0.2")
    form.field("min size ml:").text = "0.5"
    form.field("min size ml:").emit("editingFinished()")
    panel.click("segmentButton")
    asked = store.params[0]
    assert (asked["tta"], asked["threshold"], asked["min_size_ml"]) == (True, "0.2", 0.5)
    form.field("min size ml:").text = "much"
    form.field("min size ml:").emit("editingFinished()")
    assert "expected a number" in panel.stand_in.errors[-1]


def test_the_options_of_training_are_a_form_and_only_what_was_changed_is_sent(
    panel: Panel, store: Store
) -> None:
    open_first(panel)
    panel.click("segmentButton")
    panel.click("submitButton")
    form = panel.ui.trainOptions.current
    form.field("max epochs:").text = "7"
    panel.click("trainButton")
    assert store.bodies["/train/segment"] == {"max_epochs": "7"}
    panel.click("stopTrainingButton")
    form.field("max epochs:").text = "20"
    panel.click("trainButton")
    assert store.bodies["/train/segment"] == {}


def test_the_simulation_follows_its_sliders(panel: Panel, store: Store) -> None:
    store.simulation = SIMULATION
    open_first(panel)
    ui = panel.ui
    ui.simulationSection.emit("contentsCollapsed(bool)", False)
    panel.wait(lambda: ui.simulationPictureLabel.current is not None)
    assert ui.simulationPictureLabel.current.data == b"flair"
    assert (
        ui.simulationEquationLabel.text.startswith("S = PD") and "inverted" in ui.simulationTissuesLabel.text
    )
    sliders = ui.simulationSliders.current
    inversion = sliders.field("TI:")
    assert (inversion.minimum, inversion.maximum, inversion.value) == (100.0, 4000.0, 2500.0)
    assert (inversion.singleStep, inversion.decimals, inversion.suffix) == (10.0, 0, " ms")
    inversion.emit("valueChanged(double)", 2000.0)
    panel.wait(lambda: store.simulated[-1]["parameters"]["inversion_time"] == 2.0)
    ui.simulationSequenceCombo.currentText = "spoiled gradient echo"
    ui.simulationSequenceCombo.emit("currentIndexChanged(int)", 1)
    panel.wait(lambda: ui.simulationPictureLabel.current.data == b"spgr")
    assert sliders.field("MT pulse:").maximum == 1.0 and sliders.field("Flip angle:").suffix == "°"
    ui.simulationLesionCombo.currentText = "none"
    ui.simulationLesionCombo.emit("currentIndexChanged(int)", 0)
    panel.wait(lambda: store.simulated[-1]["lesion"] == "none")
    store.refuse["/simulate"] = (400, "the echo comes too late")
    sliders.field("Flip angle:").emit("valueChanged(double)", 30.0)
    panel.wait(lambda: "too late" in ui.simulationProblemLabel.text)
    store.refuse.clear()
    panel.click("simulationResetButton")
    panel.wait(lambda: ui.simulationProblemLabel.text == "")
    assert sliders.field("Flip angle:").value == 20.0 and not panel.stand_in.errors

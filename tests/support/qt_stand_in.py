# ruff: noqa: N802 - the names are Qt's and Slicer's
"""Stands in for Qt and for the parts of 3D Slicer that need it, so that the panel's code can be run.

It shows that the code runs along the paths that users take and that the presenter hears of it. It does not show that
Qt, PythonQt or Slicer's widgets behave so.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
import slicer

DIALOGS = {"getOpenFileName": "", "getSaveFileName": ""}


class Emitter:
    """Anything with signals."""

    def __init__(self) -> None:
        self.slots: dict[str, list[Callable[..., None]]] = {}
        self.blocked = False

    def connect(self, signal: str, slot: Callable[..., None]) -> None:
        self.slots.setdefault(signal, []).append(slot)

    def disconnect(self, signal: str) -> None:
        del self.slots[signal]

    def emit(self, signal: str, *values: Any) -> None:
        for slot in [] if self.blocked else self.slots.get(signal, []):
            slot(*values)

    def blockSignals(self, on: bool) -> bool:
        before, self.blocked = self.blocked, on
        return before


class Widget(Emitter):
    """A widget; only these attributes may be set, so that a misspelt one is found."""

    ATTRIBUTES: ClassVar = {
        "enabled",
        "toolTip",
        "text",
        "visible",
        "maximum",
        "value",
        "checked",
        "currentText",
        "minimum",
        "singleStep",
        "decimals",
        "suffix",
    }

    def __init__(self, name: str) -> None:
        super().__init__()
        object.__setattr__(self, "name", name)
        for attribute, value in {"enabled": True, "toolTip": name, "text": "", "checked": False}.items():
            setattr(self, attribute, value)
        self.visible, self.maximum, self.value, self.currentText = True, 1, 0.5, ""
        self.items: list[tuple[str, Any]] = []
        self.current: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.ATTRIBUTES | {"slots", "blocked", "items", "current"}, name
        object.__setattr__(self, name, value)

    @property
    def currentData(self) -> Any:
        return next((data for text, data in self.items if text == self.currentText), None)

    def clear(self) -> None:
        self.items = []

    def setParent(self, parent: Any) -> None:
        self.current = "removed"

    def setPixmap(self, pixmap: Pixmap) -> None:
        self.current = pixmap

    def addItem(self, text: str, data: Any = None) -> None:
        self.items.append((text, data))

    def addItems(self, texts: list[str]) -> None:
        self.items += [(text, None) for text in texts]

    def addTopLevelItem(self, item: TreeItem) -> None:
        self.items.append((item.text(0), item))

    def setCurrentItem(self, item: TreeItem) -> None:
        self.current = item

    def setMRMLScene(self, scene: Any) -> None:
        pass

    def currentNode(self) -> Any:
        return self.current


class FormLayout:
    """Keeps its rows."""

    def __init__(self, container: Widget) -> None:
        container.current = self
        self.rows: list[tuple[Widget, Widget]] = []

    def addRow(self, label: Widget, widget: Widget) -> None:
        self.rows.append((label, widget))

    def field(self, text: str) -> Widget:
        """The widget that is shown beside a label."""
        (found,) = [
            w for label, w in self.rows if label.text == text and label.visible and label.current is None
        ]
        return found


class Pixmap:
    def __init__(self) -> None:
        self.data, self.width = b"", 0

    def loadFromData(self, data: bytes, kind: str) -> bool:
        self.data = data
        return kind == "PNG"

    def scaledToWidth(self, width: int, how: Any) -> Pixmap:
        self.width = width
        return self


def label(text: str) -> Widget:
    made = Widget("label")
    made.text = text
    return made


class SegmentEditor(Widget):
    """Remembers what it was given."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        object.__setattr__(self, "given", {})

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("set") or name in ("setupViewObservations", "removeViewObservations"):
            return lambda *values: self.given.__setitem__(name, values)
        raise AttributeError(name)

    def activeEffect(self) -> Any:
        return types.SimpleNamespace(name="Paint")


class TreeItem:
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def text(self, column: int) -> str:
        return self._texts[column]


class Timer(Emitter):
    """A single shot of no delay fires at once."""

    def __init__(self) -> None:
        super().__init__()
        self.single, self.interval, self.running = False, 0, False

    def setSingleShot(self, on: bool) -> None:
        self.single = on

    def setInterval(self, ms: int) -> None:
        self.interval = ms

    def start(self) -> None:
        self.running = True
        if self.single and self.interval == 0:
            self.emit("timeout()")

    def stop(self) -> None:
        self.running = False

    @staticmethod
    def singleShot(ms: int, slot: Callable[[], None]) -> None:
        slot()


class Shortcut(Emitter):
    installed: ClassVar[list[Shortcut]] = []

    def __init__(self, window: Any) -> None:
        super().__init__()
        self.key = ""
        self.installed.append(self)

    def setKey(self, key: str) -> None:
        self.key = key

    def setParent(self, parent: Any) -> None:
        self.installed.remove(self)


class MessageBox:
    AcceptRole = 0
    answer: ClassVar[str] = ""
    asked: ClassVar[list[str]] = []

    def __init__(self, window: Any) -> None:
        self._buttons: list[str] = []

    def setWindowTitle(self, text: str) -> None:
        pass

    def setText(self, text: str) -> None:
        self.asked.append(text)

    def addButton(self, text: str, role: int) -> str:
        self._buttons.append(text)
        return text

    def setDefaultButton(self, button: str) -> None:
        assert button in self._buttons

    def exec_(self) -> None:
        pass

    def clickedButton(self) -> str:
        return self.answer


class ModuleBase:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


class LogicBase:
    def getParameterNode(self) -> None:
        return None


class WidgetBase(ModuleBase):
    def setup(self) -> None:
        self.layout = types.SimpleNamespace(addWidget=lambda widget: None)

    def resourcePath(self, name: str) -> str:
        return str(self.module_folder / "Resources" / name)

    module_folder: Path


def parameter_node_wrapper(cls: type) -> type:
    made = dataclasses.dataclass(cls)
    made.connectGui = lambda self, widget: None
    return type(cls.__name__, (made,), {"__init__": lambda self, node: made.__init__(self)})


def install(monkeypatch: pytest.MonkeyPatch, module_folder: Path) -> types.SimpleNamespace:
    """Put the stand-ins where the panel looks for Qt and Slicer; return what a test wants to see."""
    errors: list[str] = []
    opened: list[Path] = []
    root = ElementTree.parse(module_folder / "Resources" / "UI" / "StrokeLabel.ui").getroot()
    makers = {"qMRMLSegmentEditorWidget": SegmentEditor}
    ui = types.SimpleNamespace(
        **{w.get("name"): makers.get(w.get("class"), Widget)(w.get("name")) for w in root.iter("widget")}
    )
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    layout_node = scene.AddNode(slicer.vtkMRMLLayoutNode())
    layout_logic = types.SimpleNamespace(GetLayoutNode=lambda: layout_node)
    manager = types.SimpleNamespace(layoutLogic=lambda: layout_logic)
    app = types.SimpleNamespace(
        connect=lambda *_: None,
        applicationLogic=lambda: application,
        layoutManager=lambda: manager,
        temporaryPath=tempfile.mkdtemp(),
    )
    dialogs = types.SimpleNamespace(**{name: (lambda *_, name=name: DIALOGS[name]) for name in DIALOGS})
    qt = types.ModuleType("qt")
    qt.__dict__.update(
        QTimer=Timer,
        QShortcut=Shortcut,
        QKeySequence=str,
        QMessageBox=MessageBox,
        QTreeWidgetItem=TreeItem,
        QFileDialog=dialogs,
        QFormLayout=FormLayout,
        QLabel=label,
        QComboBox=lambda: Widget("combo"),
        QCheckBox=lambda: Widget("check"),
        QLineEdit=lambda: Widget("edit"),
        QPixmap=Pixmap,
        QByteArray=bytes,
        QDesktopServices=types.SimpleNamespace(openUrl=opened.append),
        QUrl=types.SimpleNamespace(fromLocalFile=Path),
        Qt=types.SimpleNamespace(SmoothTransformation=1),
    )
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    WidgetBase.module_folder = module_folder
    base.__dict__.update(
        ScriptedLoadableModule=ModuleBase,
        ScriptedLoadableModuleLogic=LogicBase,
        ScriptedLoadableModuleTest=ModuleBase,
        ScriptedLoadableModuleWidget=WidgetBase,
    )
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.__dict__.update(
        WithinRange=lambda low, high: (low, high), parameterNodeWrapper=parameter_node_wrapper
    )
    words = types.ModuleType("slicer.i18n")
    words.tr = lambda text: text
    for module in (qt, base, wrapper, words):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    panel = Widget("StrokeLabel")
    util = {
        "loadUI": lambda path: panel,
        "childWidgetVariables": lambda widget: ui,
        "errorDisplay": lambda text, windowTitle="": errors.append(text),
        "infoDisplay": errors.append,
        "mainWindow": lambda: None,
        "resetSliceViews": lambda: None,
    }
    for name, value in util.items():
        monkeypatch.setattr(slicer.util, name, value, raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "qMRMLSliderWidget", lambda: Widget("slider"), raising=False)
    monkeypatch.setattr(slicer, "app", app, raising=False)
    return types.SimpleNamespace(
        ui=ui,
        scene=scene,
        errors=errors,
        opened=opened,
        layout=layout_node,
        application=application,
        logic=logic,
    )

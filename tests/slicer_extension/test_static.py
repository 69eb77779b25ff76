"""What desktop 3D Slicer would only find at run time: names of widgets, signals, files; and what may be imported."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image as images

from support.system_programs import CMAKE, require

REPOSITORY = Path(__file__).parents[2]
EXTENSION = REPOSITORY / "slicer_extension"
MODULE = EXTENSION / "StrokeLabel"
LIBRARY = MODULE / "StrokeLabelLib"
SOURCES = [MODULE / "StrokeLabel.py", *sorted(LIBRARY.rglob("*.py"))]
NAMES = json.loads((Path(__file__).parent / "qt_names.json").read_text())
UI = ElementTree.parse(MODULE / "Resources" / "UI" / "StrokeLabel.ui").getroot()
WIDGETS = {widget.get("name"): widget.get("class") for widget in UI.iter("widget")}
USERS_OF_THE_UI = [
    MODULE / "StrokeLabel.py",
    LIBRARY / "desktop" / "qt_view.py",
    LIBRARY / "desktop" / "simulation_panel.py",
]

STANDARD = {"numpy", "scipy", "requests", "vtk", "slicer", "qt"}
"""What 3D Slicer's Python has. SimpleITK and pydicom are there too, and not needed."""


def relative(path: Path) -> str:
    return str(path.relative_to(MODULE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), feature_version=(3, 9))


def widget_names_used(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ui", "self.ui", "self._ui"):
            yield node.attr
        elif isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            yield from (key for key in keys if re.fullmatch(r"[a-z]\w*(Button|Slider|Combo)", str(key)))


@pytest.mark.parametrize("path", USERS_OF_THE_UI, ids=relative)
def test_every_widget_that_is_used_is_in_the_ui_file(path: Path) -> None:
    used = set(widget_names_used(path))
    assert len(used) > 8 and used <= set(WIDGETS)


def test_every_button_of_the_ui_file_does_something() -> None:
    used = {name for path in USERS_OF_THE_UI for name in widget_names_used(path)}
    used |= set(re.findall(r'"(\w+Check)"', (MODULE / "StrokeLabel.py").read_text()))
    active = ("QPushButton", "QComboBox", "QCheckBox", "ctkSliderWidget", "QTreeWidget", "QLineEdit")
    assert {name for name, kind in WIDGETS.items() if kind in active} - used == set()


def test_every_button_has_a_tooltip_and_every_widget_a_name_of_its_own() -> None:
    for widget in UI.iter("widget"):
        if widget.get("class") in ("QPushButton", "QCheckBox", "QLineEdit", "QComboBox"):
            tips = [p for p in widget.findall("property") if p.get("name") == "toolTip"]
            assert tips, widget.get("name")
    assert len(WIDGETS) == len(list(UI.iter("widget")))


def connections(path: Path) -> Iterator[tuple[str, str]]:
    """Widget (or "" if it is not one of the ui) and signal of each connect("signal", ...)."""
    for node in ast.walk(tree(path)):
        is_connect = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if is_connect and node.func.attr == "connect" and isinstance(node.args[0], ast.Constant):
            widget = node.func.value.attr if isinstance(node.func.value, ast.Attribute) else ""
            yield (widget if widget in WIDGETS else ""), node.args[0].value


@pytest.mark.parametrize("path", [p for p in SOURCES if "qt" in p.read_text()], ids=relative)
def test_every_signal_exists(path: Path) -> None:
    everywhere = {signal for signals in NAMES["signals"].values() for signal in signals} | {
        "startupCompleted()"
    }
    for widget, signal in connections(path):
        known = set(NAMES["signals"][WIDGETS[widget]]) if widget else everywhere
        assert signal in known, (widget, signal)


def test_every_kind_of_widget_is_known_and_declared() -> None:
    assert set(WIDGETS.values()) <= set(NAMES["signals"])
    declared = {item.findtext("class") for item in UI.iter("customwidget")}
    assert declared == {kind for kind in WIDGETS.values() if not kind.startswith("Q")}


def test_only_methods_that_the_segment_editor_has_are_called() -> None:
    pattern = re.compile(r"(?:segmentEditor|\beditor)\.(\w+)\(")
    used = {m for path in USERS_OF_THE_UI for m in pattern.findall(path.read_text())}
    assert used and used <= set(NAMES["segment_editor_methods"])


def test_parameters_of_the_ui_file_are_fields_of_the_parameter_node_and_the_other_way_round() -> None:
    named = {
        prop.findtext("string") for prop in UI.iter("property") if prop.get("name") == "SlicerParameterName"
    }
    (node,) = [
        n
        for n in tree(MODULE / "StrokeLabel.py").body
        if getattr(n, "name", "") == "StrokeLabelParameterNode"
    ]
    assert named == {field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}


def test_every_button_follows_a_command_of_the_presenter() -> None:
    from StrokeLabelLib.session.availability import COMMANDS

    (buttons,) = [
        n.value
        for n in tree(LIBRARY / "desktop" / "qt_view.py").body
        if isinstance(n, ast.Assign) and n.targets[0].id == "BUTTONS"
    ]
    assert set(ast.literal_eval(buttons).values()) <= set(COMMANDS)


def test_every_shortcut_has_a_command_and_a_key_of_its_own() -> None:
    (table,) = [
        n.value for n in tree(LIBRARY / "desktop" / "shortcuts.py").body if isinstance(n, ast.AnnAssign)
    ]
    shortcuts = ast.literal_eval(table)
    assert len({key for key, _ in shortcuts.values()}) == len(shortcuts)
    source = (MODULE / "StrokeLabel.py").read_text()
    commands = source[source.index("def _shortcut_commands") : source.index("def _timer")]
    assert set(re.findall(r'"(\w+)":', commands)) == set(shortcuts)


@pytest.mark.parametrize("root", [REPOSITORY, EXTENSION], ids=["repository", "slicer_extension"])
def test_cmake_installs_every_file_and_no_file_that_is_missing(root: Path, tmp_path: Path) -> None:
    stub = Path(__file__).parent / "stub_slicer"
    command = [
        *map(str, require(CMAKE)),
        "-S",
        str(root),
        "-B",
        str(tmp_path),
        f"-DSlicer_DIR={stub}",
        "-DCMAKE_C_COMPILER_WORKS=1",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    installed = (tmp_path / "installed.txt").read_text().split()
    resources = [p for p in (MODULE / "Resources").rglob("*") if p.is_file()]
    assert sorted(installed) == sorted(map(relative, [*SOURCES, *resources]))
    assert set((tmp_path / "tests.txt").read_text().split()) == {"StrokeLabel.py", "StrokeLabelSelfTest.py"}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Names of modules, and how many dots they begin with."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0], node.level


@pytest.mark.parametrize("path", SOURCES[1:], ids=relative)
def test_the_library_imports_only_what_slicer_has(path: Path) -> None:
    import sys

    outside = {name for name, level in imported(path) if level == 0} - set(sys.stdlib_module_names)
    folder = path.relative_to(LIBRARY).parts[0]
    allowed = {"mrml": STANDARD - {"qt"}, "desktop": STANDARD}.get(folder, STANDARD - {"qt", "vtk", "slicer"})
    assert outside <= allowed
    assert not any(
        name in ("mrml", "desktop") for name, level in imported(path) if level and folder not in allowed
    ) or (folder in ("mrml", "desktop"))


def test_the_widget_is_small_and_knows_nothing_of_the_training_package() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert lines[MODULE / "StrokeLabel.py"] < 300 and max(lines.values()) < 400
    words = re.compile(r"^\s*(import|from) (strokelabel|torch|monai|nibabel|SimpleITK)\b", re.MULTILINE)
    assert not [path for path in SOURCES if words.search(path.read_text())]


def test_the_terminology_of_the_file_is_the_one_that_segments_get() -> None:
    from StrokeLabelLib.mrml import segments

    table = json.loads((MODULE / "Resources" / "StrokeLabel.term.json").read_text())
    assert table["SegmentationCategoryTypeContextName"] == segments.CONTEXT
    (category,) = table["SegmentationCodes"]["Category"]
    keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    assert tuple(category[key] for key in keys) == segments.CATEGORY
    assert tuple(category["Type"][0][key] for key in keys) == segments.INFARCT
    assert tuple(category["Type"][0]["recommendedDisplayRGBValue"]) == segments.LESION_COLOR


def test_the_catalogue_entry_has_what_the_index_asks_for() -> None:
    entry = json.loads((EXTENSION / "StrokeLabel.json").read_text())
    assert {"$schema", "category", "scm_url"} <= set(entry) and entry["scm_url"].startswith("https://")
    assert not (EXTENSION / "StrokeLabel.json").stem.startswith("Slicer") and 1 <= entry["tier"] <= 5


def test_icons_are_square_and_not_empty() -> None:
    for path, size in (
        (EXTENSION / "StrokeLabel.png", 128),
        (MODULE / "Resources/Icons/StrokeLabel.png", 64),
    ):
        pixels = images.imread(path)
        assert pixels.shape == (size, size, 4) and np.unique(pixels[..., 0]).size > 20


def test_the_layout_of_several_sequences_is_well_formed() -> None:
    from StrokeLabelLib.desktop.layouts import side_by_side, view_names

    layout = ElementTree.fromstring(side_by_side(("T1w", 'a"<&b', "DWI", "ADC", "CT")))
    tags = [view.get("singletontag") for view in layout.iter("view")]
    assert tags == view_names(5) == ["StrokeLabel1", "StrokeLabel2", "StrokeLabel3", "StrokeLabel4"]

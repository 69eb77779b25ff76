"""mypy and import-linter see the app and the extension, with the configuration of `make lint`."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = {
    "training": "strokelabel",
    "monailabel_app": "lib",
    "slicer_extension/StrokeLabel": "StrokeLabelLib",
    "slicer_extension/browser": "strokelabel_browser",
}
"""Folder on Python's path -> the package in it that import-linter checks."""

LIBRARY = "slicer_extension/StrokeLabel/StrokeLabelLib"


PLANTED = {
    "monailabel_app/app_script.py",
    "monailabel_app/lib/app_module.py",
    "slicer_extension/extension_script.py",
    f"{LIBRARY}/library_module.py",
    "slicer_extension/browser/strokelabel_browser/page_module.py",
    "sample-data/code/data_script.py",
    "training/benchmarks/benchmark_script.py",
    "training/strokelabel/package_module.py",
    "training/pack.py",
}
"""Files with a function without types, each in a place that mypy must look into."""


def _run(tool: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Run a tool of the environment in a folder; return its exit status and what it says, without colours."""
    command = [str(Path(sys.executable).with_name(tool))]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)


def test_mypy_finds_functions_without_types_in_all_that_is_shipped(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for place in PLANTED:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("def planted(value):\n    return value\n", encoding="utf-8")

    status, output = _run("mypy", tmp_path)

    assert status == 1, output
    pattern = r"^(\S+):1: error: Function is missing a type annotation"
    assert set(re.findall(pattern, output, re.MULTILINE)) == PLANTED


def test_import_linter_finds_imports_that_break_the_contracts_of_the_app_and_the_extension(
    tmp_path: Path,
) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for folder, package in PACKAGES.items():
        shutil.copytree(
            REPOSITORY / folder / package,
            tmp_path / folder / package,
            ignore=shutil.ignore_patterns("__pycache__", "weights"),
        )
    planted = {
        "Layers of the app": ("monailabel_app/lib/refusals.py", "import lib.server"),
        "Layers of the extension's library": (f"{LIBRARY}/volume.py", "import StrokeLabelLib.session"),
        "Layers of the browser page": (
            "slicer_extension/browser/strokelabel_browser/scene.py",
            "import strokelabel_browser.app",
        ),
        "No import circles": (f"{LIBRARY}/session/case.py", "import StrokeLabelLib.session.working_copy"),
        "The app does not import the extension": (
            "monailabel_app/lib/studies/datastore_file.py",
            "import StrokeLabelLib",
        ),
        "The extension talks HTTP": (f"{LIBRARY}/nifti.py", "import strokelabel.io"),
        "Sessions, requests and operations on masks": (f"{LIBRARY}/ops/strokes.py", "import slicer"),
    }
    for file, line in planted.values():
        path = tmp_path / file
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    places = os.pathsep.join(str(tmp_path / folder) for folder in PACKAGES)

    status, output = _run("lint-imports", tmp_path, PYTHONPATH=places)

    results = dict(re.findall(r"^(\S.*?) (KEPT|BROKEN)", output, re.MULTILINE))
    assert status == 1, output
    for name in planted:
        assert [result for contract, result in results.items() if contract.startswith(name)] == ["BROKEN"], (
            name
        )
    assert results["Layers: a layer imports only those below it"] == "KEPT"


def test_no_modules_import_each_other_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in PACKAGES:
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    graph = grimp.build_graph(*PACKAGES.values(), cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    imported["strokelabel"].discard(
        "strokelabel.api"
    )  # when a name is first asked for; the API imports all else
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


def _imported_by(file: Path) -> set[str]:
    """Return the top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("monailabel_app", {"StrokeLabelLib", "strokelabel_browser", "slicer"}),
        ("slicer_extension", {"strokelabel", "lib", "monailabel"}),
    ],
)
def test_no_file_of_the_app_or_the_extension_imports_the_other_side(folder: str, forbidden: set[str]) -> None:
    found = {
        str(file.relative_to(REPOSITORY)): sorted(_imported_by(file) & forbidden)
        for file in (REPOSITORY / folder).rglob("*.py")
    }

    assert {file: names for file, names in found.items() if names} == {}

"""What a release says about itself: one version everywhere, and hooks that run what `make lint` runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import strokelabel


def test_package_extension_page_citation_and_changelog_have_one_version(repository: Path) -> None:
    """The app reports the package's version; the page is built on the extension's library."""
    library = (repository / "slicer_extension/StrokeLabel/StrokeLabelLib/__init__.py").read_text()
    app = (repository / "monailabel_app/main.py").read_text()
    versions = {
        "package": strokelabel.__version__,
        "extension and page": re.search(r'^__version__ = "(.*)"$', library, re.MULTILINE)[1],
        "citation": citation(repository)["version"],
        "changelog": re.search(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)[1],
    }

    assert set(versions.values()) == {strokelabel.__version__}, versions
    assert "strokelabel.__version__" in app


def test_the_citation_names_the_licence_and_the_papers_of_the_readme(repository: Path) -> None:
    file = citation(repository)
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    readme = (repository / "README.md").read_text()

    assert file["license"] == project["license"] == "Apache-2.0"
    papers = {paper["authors"][0]["family-names"] for paper in file["references"]}
    assert papers == set(re.findall(r"\((\w+) et al\.", readme))


def test_hooks_are_local_and_are_those_of_make_lint(repository: Path) -> None:
    (source,) = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"]
    makefile = (repository / "Makefile").read_text()

    assert source["repo"] == "local"
    for hook in source["hooks"]:
        assert hook["language"] == "system"
        tool, *words = hook["entry"].removesuffix(" --force-exclude").split()
        assert f'"$(BIN)/{tool}" {" ".join(words)} .' in makefile


def citation(repository: Path) -> dict[str, object]:
    return yaml.safe_load((repository / "CITATION.cff").read_text())

"""Programs beyond Python that tests need: found, installed where that is allowed, and named where they are missing.

`make test` runs this file as a script before the tests. It installs what is missing with apt-get, as root or with a
sudo that asks for no password. Where it may not, the tests that need a program are skipped and counted in the last
lines of the tests' output; with STROKELABEL_REQUIRE_PROGRAMS set, as in continuous integration, they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIRED = "STROKELABEL_REQUIRE_PROGRAMS"
_ORTHANC_PLUGIN = "libOrthancDicomWeb.so"
_ORTHANC_PLUGIN_FOLDERS = (
    "/usr/share/orthanc/plugins",
    "/usr/lib/orthanc",
    "/usr/local/share/orthanc/plugins",
)


def _which(*names: str) -> list[Path] | None:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return next(([Path(path)] for name in names if (path := shutil.which(name, path=places))), None)


def _find_orthanc() -> list[Path] | None:
    """Orthanc and its DICOMweb plugin."""
    program = _which("Orthanc")
    plugin = next((p for f in _ORTHANC_PLUGIN_FOLDERS if (p := Path(f) / _ORTHANC_PLUGIN).exists()), None)
    return [*program, plugin] if program and plugin else None


def _find_chromium() -> list[Path] | None:
    """Chromium, or the browser that the environment variable CHROMIUM names."""
    named = os.environ.get("CHROMIUM")
    return _which(named) if named else _which("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Program:
    """A program that tests start.

    Attributes:
        name: as its makers write it.
        packages: of Debian and Ubuntu, that bring it.
        find: returns its files, or None where one of them is missing.
    """

    name: str
    packages: tuple[str, ...]
    find: Callable[[], list[Path] | None]

    @property
    def is_missing(self) -> str:
        """The sentence that says so."""
        return f"{self.name} is not installed: apt-get install {' '.join(self.packages)}"


ORTHANC = Program("Orthanc", ("orthanc", "orthanc-dicomweb"), _find_orthanc)
CMAKE = Program("CMake", ("cmake",), lambda: _which("cmake"))
CHROMIUM = Program("Chromium", ("chromium",), _find_chromium)
PROGRAMS = (ORTHANC, CMAKE, CHROMIUM)


def require(program: Program) -> list[Path]:
    """Return a program's files; where they are missing, skip the test, or fail it where programs are required."""
    import pytest

    found = program.find()
    if found:
        return found
    if os.environ.get(REQUIRED):
        pytest.fail(program.is_missing, pytrace=False)
    pytest.skip(program.is_missing)


def could_not_run(skipped: Iterable[Any]) -> list[str]:
    """Return a line for each missing program, with the number of tests that were skipped for it.

    Args:
        skipped: pytest's reports of skipped tests.
    """
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    sentences = [program.is_missing for program in PROGRAMS]
    return [f"{reasons[text]} tests could not run: {text}" for text in sentences if reasons[text]]


def install(programs: Iterable[Program]) -> None:
    """Install programs with apt-get where that is allowed; say why where it is not."""
    apt = _apt_get()
    if apt is None:
        _say(
            "Programs that tests need can only be installed here by hand (no apt-get, or neither root nor sudo)."
        )
        return
    subprocess.run([*apt, "update", "-qq"], check=False)
    for program in programs:  # one by one: apt-get installs nothing where one package does not exist
        subprocess.run(
            [*apt, "install", "-y", "-qq", "--no-install-recommends", *program.packages], check=False
        )


def _apt_get() -> list[str] | None:
    """Return the beginning of a command line that may install, or None."""
    if not shutil.which("apt-get"):
        return None
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"]
    if os.geteuid() == 0:
        return apt
    sudo = ["sudo", "-n"]
    allowed = shutil.which("sudo") and not subprocess.run([*sudo, "true"], capture_output=True).returncode
    return [*sudo, *apt] if allowed else None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> int:
    """Install what is missing; 1 where something is still missing and required."""
    missing = [program for program in PROGRAMS if not program.find()]
    if missing:
        install(missing)
    missing = [program for program in missing if not program.find()]
    for program in missing:
        _say(f"{program.is_missing}; tests that need it cannot run.")
    return int(bool(missing and os.environ.get(REQUIRED)))


if __name__ == "__main__":
    sys.exit(main())

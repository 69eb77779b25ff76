"""Start and stop a real Orthanc with its DICOMweb plugin, on a free port and with a storage of its own."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom
import requests

from support.app_server import free_port
from support.system_programs import ORTHANC, require

_START_SECONDS = 60


@dataclass
class Orthanc:
    """A running Orthanc: `url` of its own interface, `dicomweb` of its DICOMweb service."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def upload(self, *files: Path) -> None:
        for file in files:
            requests.post(f"{self.url}/instances", data=file.read_bytes(), timeout=30).raise_for_status()

    def segs(self) -> list[pydicom.Dataset]:
        """All SEGs it holds, fetched by its own interface."""
        found = requests.post(
            f"{self.url}/tools/find", json={"Level": "Instance", "Query": {"Modality": "SEG"}}, timeout=30
        ).json()
        files = [requests.get(f"{self.url}/instances/{i}/file", timeout=30).content for i in found]
        return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in files]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def start_orthanc(folder: Path) -> Orthanc:
    """Start Orthanc and wait until it answers.

    Args:
        folder: an empty folder for its configuration, storage and log.
    """
    program, plugin = require(ORTHANC)
    port = free_port()
    configuration = {
        "Name": "StrokeLabel tests",
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(plugin)],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    orthanc = Orthanc(f"http://127.0.0.1:{port}", process)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{orthanc.dicomweb}/studies", timeout=5).ok:
                return orthanc
        except requests.ConnectionError:
            time.sleep(0.1)
    if process.poll() is None:
        orthanc.stop()
    raise RuntimeError(f"Orthanc did not start:\n{(folder / 'orthanc.log').read_text()[-3000:]}")

"""Sessions: files and archives of clients stay in their folder, whatever their names say."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests

from support.app_scans import head, oblique_affine, save
from support.app_server import Server, multipart
from support.dicom_writer import write_series

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def create(server: Server, *files: tuple[str, bytes], uncompress: bool = False) -> requests.Response:
    sent = [("files", file) for file in files]
    return server.put("/session/", params={"uncompress": uncompress}, files=sent)


def around(server: Server) -> set[Path]:
    """Everything below the folder that holds the server's temporary files, its home and its studies."""
    return {path for root in (server.temporary.parent, server.studies.parent) for path in root.rglob("*")}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_with_one_scan_is_unpacked_and_segmented(
    server: Server, tmp_path: Path, kind: str
) -> None:
    scan = save(tmp_path / "scan.nii.gz", head()).read_bytes()
    packed = (
        zipped(**{"folder/scan.nii.gz": scan})
        if kind == "zip"
        else tarred((tarfile.TarInfo("scan.nii.gz"), scan))
    )

    session = create(server, (f"a.{kind}", packed), uncompress=True).json()["session_id"]
    answer = server.infer("segment", session=session)

    assert answer.status_code == 200 and multipart(answer)[0]["lesion_count"] == 1
    assert server.get(f"/session/{session}?image=true").content == scan
    assert server.delete(f"/session/{session}").status_code == 200
    assert server.get(f"/session/{session}").status_code == 404


def test_a_series_is_found_wherever_it_lies_in_an_archive_and_among_what_macos_and_a_cd_add(
    server: Server, tmp_path: Path
) -> None:
    write_series(tmp_path / "series", head().astype(np.int16), oblique_affine(), "1.2.3")
    slices = {path.name: path.read_bytes() for path in (tmp_path / "series").iterdir()}
    deep = {f"CD/My Series/{name}": content for name, content in slices.items()}
    junk = {f"__MACOSX/CD/My Series/._{name}": b"\0\5\x16\7" for name in slices}
    junk |= {
        "CD/My Series/.DS_Store": b"Bud1",
        "CD/autorun.inf": b"[autorun]",
        "DICOMDIR": bytes(128) + b"DICM",
    }
    for content in (deep, {**junk, **deep}, {**slices, ".DS_Store": b"Bud1"}):
        created = create(server, ("a.zip", zipped(**content)), uncompress=True)
        assert created.status_code == 200, created.text
        session = created.json()["session_id"]
        answer = server.infer("segment", session=session)
        assert answer.status_code == 200, answer.text
        assert multipart(answer)[0]["lesion_count"] == 1


def test_an_archive_with_several_scans_is_refused_by_their_names(server: Server, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.nii.gz", head()).read_bytes()
    packed = zipped(**{"one/T1.nii.gz": scan, "two/T1.nii.gz": scan, "two/T1_mask.nii.gz": scan})
    answer = create(server, ("a.zip", packed), uncompress=True)
    assert answer.status_code == 400 and "found 2: one/T1.nii.gz, two/T1.nii.gz" in answer.json()["detail"]


SLIPS = {
    "parent": zipped(**{"../../slipped.txt": b"x"}),
    "absolute": zipped(**{"/tmp/slipped.txt": b"x"}),
    "backslashes": zipped(**{"..\\..\\slipped.txt": b"x"}),
    "tar parent": tarred((tarfile.TarInfo("../../slipped.txt"), b"x")),
    "tar absolute": tarred((tarfile.TarInfo("/tmp/slipped.txt"), b"x")),
    "tar link": tarred((link("out", "/"), b""), (tarfile.TarInfo("out/slipped.txt"), b"x")),
    "corrupt": zipped(a=b"x" * 1000)[:-30],
    "empty": zipped(),
    "no archive": b"a headache",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_an_archive_that_would_write_elsewhere_is_refused(server: Server, slip: str) -> None:
    before = around(server)

    answer = create(server, ("a.tar.gz" if "tar" in slip else "a.zip", SLIPS[slip]), uncompress=True)

    assert answer.status_code in (400, 415) and isinstance(answer.json()["detail"], str)
    strangers = {path for path in around(server) - before if path.name != "server.jsonl"}
    assert not strangers and not Path("/tmp/slipped.txt").exists()


def test_names_of_files_are_only_names(server: Server, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.nii.gz", head()).read_bytes()
    before = around(server)

    made = create(server, ("../../../escaped.nii.gz", scan)).json()

    assert Path(made["session_info"]["image"]).name == "escaped.nii.gz"
    new = around(server) - before
    assert all(
        made["session_id"] in str(path) or path.name == "sessions"
        for path in new
        if path.name != "server.jsonl"
    )


def test_a_name_twice_is_refused_because_one_file_would_be_lost(server: Server) -> None:
    answer = create(server, ("a/1.dcm", b"one"), ("b/1.dcm", b"two"))
    assert answer.status_code == 400 and "twice" in answer.json()["detail"]


def test_several_files_cannot_be_downloaded_as_one(server: Server) -> None:
    session = create(server, ("1.dcm", b"one"), ("2.dcm", b"two")).json()["session_id"]
    assert server.get(f"/session/{session}?image=true").status_code == 400
    assert server.get(f"/session/{session}").status_code == 200


def test_more_files_than_a_form_may_have_are_refused(server: Server) -> None:
    answer = create(server, *((f"{index}.dcm", b"x") for index in range(1001)))
    assert answer.status_code == 400 and "Too many files" in answer.json()["detail"]

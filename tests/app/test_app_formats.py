"""A real server lists, serves, segments and takes in scans of every format; viewers get NIfTI."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from strokelabel.io import read_image
from support.app_scans import BIDS_SCAN, head, lesion, oblique_affine, save
from support.app_server import Server
from support.image_formats import WRITERS
from support.label_data import write_nrrd

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

OTHERS = [suffix for suffix in WRITERS if suffix not in (".nii", ".nii.gz", ".img")]
ALONE = [suffix for suffix in OTHERS if suffix not in (".nhdr", ".mhd", ".hdr")]
AFFINE = oblique_affine()


def as_scan(number: int = 0) -> np.ndarray:
    return np.round(head(number)).astype(np.int16)


@pytest.fixture(scope="module")
def studies_of_all_formats(server: Server) -> Iterator[dict[str, str]]:
    """The id of a scan in each format; all of the same voxels."""
    ids, files = {}, []
    before = set(server.studies.iterdir())
    for suffix in OTHERS:
        ids[suffix] = f"format-{suffix[1:]}"
        WRITERS[suffix](server.studies / f"{ids[suffix]}{suffix}", as_scan(), AFFINE)
    files = sorted(set(server.studies.iterdir()) - before)
    _wait_for(server, set(ids.values()), present=True)
    yield ids
    for file in files:
        file.unlink(missing_ok=True)
    _wait_for(server, set(ids.values()), present=False)


def _wait_for(server: Server, ids: set[str], present: bool) -> None:
    from test_app_datastore import eventually, objects

    assert eventually(
        lambda: bool(ids <= set(objects(server))) if present else not ids & set(objects(server))
    )


def loaded(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def assert_same_scan(content: bytes, data: np.ndarray) -> None:
    image = loaded(content)
    assert np.array_equal(np.asarray(image.dataobj), data) and image.header["sform_code"] > 0
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_scan_is_listed_and_downloaded_as_nifti_under_a_name_that_says_so(
    server: Server, studies_of_all_formats: dict[str, str], suffix: str
) -> None:
    from test_app_datastore import objects

    image = studies_of_all_formats[suffix]
    entry = objects(server)[image]["image"]
    assert entry["ext"] == ".nii.gz" and entry["info"]["name"] == f"{image}.nii.gz"
    answer = server.get("/datastore/image", params={"image": image})
    assert f'filename="{image}.nii.gz"' in answer.headers["content-disposition"]
    assert_same_scan(answer.content, as_scan())
    info = server.get("/datastore/image/info", params={"image": image}).json()
    assert Path(info["path"]).read_bytes() == answer.content and info["name"] == f"{image}.nii.gz"


def test_every_format_gets_the_same_mask_on_its_grid(
    server: Server, studies_of_all_formats: dict[str, str]
) -> None:
    masks = [
        loaded(server.infer("segment", image, "image").content) for image in studies_of_all_formats.values()
    ]
    for mask in masks:
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(masks[0].dataobj))
        np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)
    assert np.asarray(masks[0].dataobj).any()


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_label_of_a_scan_is_kept_on_its_grid(
    server: Server, studies_of_all_formats: dict[str, str], tmp_path: Path, suffix: str
) -> None:
    image = studies_of_all_formats[suffix]
    mask = lesion(3).astype(np.uint8)
    file = write_nrrd(tmp_path / "label.nrrd", mask[:, ::-1], AFFINE @ _flipped(mask.shape[1]))
    where = {"image": image, "tag": "final"}
    assert server.put("/datastore/label", params=where, files={"label": ("label.nrrd", file.read_bytes())}).ok
    kept = nib.load(server.studies / f"labels/final/{image}.nii.gz")
    assert np.array_equal(np.asarray(kept.dataobj), mask)
    np.testing.assert_allclose(kept.affine, AFFINE, atol=1e-4)
    if suffix == ".nrrd":
        with zipfile.ZipFile(io.BytesIO(server.get("/datastore/dataset").content)) as archive:
            assert_same_scan(archive.read(f"image/{image}.nii.gz"), as_scan())
    assert server.delete("/datastore/label", params={"id": image, "tag": "final"}).ok


def _flipped(size: int) -> np.ndarray:
    turn = np.diag([1.0, -1, 1, 1])
    turn[1, 3] = size - 1
    return turn


@pytest.mark.parametrize("suffix", [".mha", ".mgz"])
def test_labels_come_in_other_formats_too(
    server: Server, studies_of_all_formats: dict[str, str], tmp_path: Path, suffix: str
) -> None:
    image, mask = studies_of_all_formats[".mgz"], lesion(2).astype(np.uint8)
    file = WRITERS[suffix](tmp_path / f"label{suffix}", mask, AFFINE)
    where = {"image": image, "tag": "final"}
    answer = server.put("/datastore/label", params=where, files={"label": (file.name, file.read_bytes())})
    assert answer.ok, answer.text
    kept = nib.load(server.studies / f"labels/final/{image}.nii.gz")
    assert np.array_equal(np.asarray(kept.dataobj), mask)
    assert server.delete("/datastore/label", params={"id": image, "tag": "final"}).ok


@pytest.mark.parametrize("suffix", ALONE)
def test_a_scan_is_uploaded_segmented_and_deleted(server: Server, tmp_path: Path, suffix: str) -> None:
    file = WRITERS[suffix](tmp_path / f"x{suffix}", as_scan(1), AFFINE)
    where = {"image": f"uploaded{suffix}"}
    assert server.put("/datastore/image", params=where, files={"file": (file.name, file.read_bytes())}).ok
    assert_same_scan(server.get("/datastore/image", params=where).content, as_scan(1))
    assert server.infer("segment", where["image"]).status_code == 200
    assert server.delete("/datastore/image", params={"id": where["image"]}).ok
    assert not (server.studies / f"uploaded{suffix}{suffix}").exists()


@pytest.mark.parametrize("suffix", ALONE)
def test_a_file_is_segmented_without_being_kept(server: Server, tmp_path: Path, suffix: str) -> None:
    file = WRITERS[suffix](tmp_path / f"x{suffix}", as_scan(), AFFINE)
    answer = server.post("/infer/segment?output=image", files={"file": (file.name, file.read_bytes())})
    assert answer.status_code == 200, answer.text
    mask = loaded(answer.content)
    assert np.asarray(mask.dataobj).any()
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".hdr", ".img"])
def test_half_of_a_scan_is_refused_and_both_are_taken_as_a_session(
    server: Server, tmp_path: Path, suffix: str
) -> None:
    WRITERS[suffix](tmp_path / f"x{suffix}", as_scan(), AFFINE)
    half = (tmp_path / f"x{suffix}").read_bytes()
    answer = server.put("/datastore/image?image=half", files={"file": (f"x{suffix}", half)})
    assert answer.status_code == 415 and "a scan in one file" in answer.text
    answer = server.post("/infer/segment?output=image", files={"file": (f"x{suffix}", half)})
    assert answer.status_code == 422 and str(server.temporary) not in answer.text
    files = [("files", (file.name, file.read_bytes())) for file in tmp_path.iterdir()]
    session = server.put("/session/", files=files).json()["session_id"]
    answer = server.post("/infer/segment", params={"session_id": session, "output": "image"})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(loaded(answer.content).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_an_upload_cannot_name_a_file_of_the_server(server: Server, tmp_path: Path, suffix: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".raw", dir=server.temporary) as secret:
        secret.write(as_scan().tobytes(order="F"))
        secret.flush()
        detached = ".nhdr" if suffix == ".nrrd" else ".mhd"
        WRITERS[detached](tmp_path / f"x{detached}", as_scan(), AFFINE)
        text = (tmp_path / f"x{detached}").read_text(encoding="utf-8")
        raw = next(file.name for file in tmp_path.iterdir() if "raw" in file.name)
        content = text.replace(raw, Path(secret.name).name).replace("gzip", "raw").encode()
        content = content.replace(b"CompressedData = True", b"CompressedData = False")
        for send in (
            lambda: server.put("/datastore/image?image=x", files={"file": (f"x{suffix}", content)}),
            lambda: server.post("/infer/segment?output=image", files={"file": (f"x{suffix}", content)}),
            lambda: server.put(
                f"/datastore/label?image={BIDS_SCAN}&tag=final", files={"label": (f"x{suffix}", content)}
            ),
        ):
            answer = send()
            assert answer.status_code in (400, 404, 422), answer.text
            assert secret.name not in answer.text


@pytest.mark.parametrize("suffix", ALONE)
def test_a_broken_upload_is_refused_in_a_sentence(server: Server, tmp_path: Path, suffix: str) -> None:
    file = WRITERS[suffix](tmp_path / f"x{suffix}", as_scan(), AFFINE)
    for content in (b"", b"text", file.read_bytes()[:200]):
        answer = server.put("/datastore/image?image=broken", files={"file": (file.name, content)})
        assert answer.status_code == 422, answer.text
        assert "expected" in json.dumps(answer.json()) and str(server.temporary) not in answer.text


def test_the_page_and_stock_clients_ask_for_the_checksum_of_what_they_download(
    server: Server, studies_of_all_formats: dict[str, str], tmp_path: Path
) -> None:
    image = studies_of_all_formats[".nrrd"]
    content = server.get("/datastore/image", params={"image": image}).content
    where = {"image": image, "check_sum": f"SHA256:{hashlib.sha256(content).hexdigest()}"}
    assert requests.head(f"{server.url}/datastore/image", params=where, timeout=60).status_code == 200
    path = save(tmp_path / "mine.nii.gz", as_scan(), AFFINE)
    assert np.array_equal(read_image(path).data, loaded(content).get_fdata())


def test_a_scan_whose_header_does_not_say_how_it_lies_is_listed_and_refused_when_opened(
    server: Server, tmp_path: Path
) -> None:
    path = write_nrrd(tmp_path / "silent.nrrd", as_scan(), AFFINE, encoding="raw")
    content = path.read_bytes().replace(b"space: left-posterior-superior\n", b"space dimension: 3\n")
    (server.studies / "silent.nrrd").write_bytes(content)
    _wait_for(server, {"silent"}, present=True)
    for answer in (
        server.get("/datastore/image?image=silent"),
        server.infer("segment", "silent"),
        server.put("/datastore/label?image=silent&tag=final", files={"label": ("x.nrrd", path.read_bytes())}),
    ):
        assert answer.status_code == 422 and "which way left, front and top are" in answer.text, answer.text
        assert str(server.studies) not in answer.text
    assert server.get("/datastore/image/info?image=silent").json()["name"] == "silent.nii.gz"
    assert server.delete("/datastore/image?id=silent").ok
    assert not (server.studies / "silent.nrrd").exists()

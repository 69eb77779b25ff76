"""MONAI Label's own client, which the Slicer plugin uses, finds everything where it looks for it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from support.app_scans import BIDS_SCAN, NESTED_SCAN, head, save
from support.app_server import Server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="tester")


def test_the_client_reads_info_and_datastore(client: MONAILabelClient) -> None:
    assert set(client.info()["models"]) >= {"segment", "segment_tissues", "refine"}
    assert BIDS_SCAN in client.datastore()["objects"]
    assert client.auth_enabled() is False
    assert client.train_status(check_if_running=True) is False


@pytest.mark.parametrize("model", ["segment", "segment_tissues"])
def test_the_client_gets_a_mask_and_its_params(client: MONAILabelClient, model: str) -> None:
    mask, params = client.infer(model, BIDS_SCAN, {})
    assert nib.load(mask).shape == head().shape
    assert "lesion" in params["label_names"]


@pytest.mark.parametrize("strategy", ["random", "first"])
def test_the_client_gets_a_next_sample_that_can_be_opened(client: MONAILabelClient, strategy: str) -> None:
    sample = client.next_sample(strategy, {})
    assert Path(sample["path"]).is_file() and sample["name"].startswith(sample["id"])
    assert sample["id"] in client.datastore()["objects"]


def test_the_client_uploads_a_volume_segments_it_and_submits_the_label(
    client: MONAILabelClient, server: Server, tmp_path: Path
) -> None:
    volume = save(tmp_path / "volume.nii.gz", head(1))
    assert client.upload_image(str(volume), "Volume_1")["image"] == "Volume_1"
    mask, _ = client.infer("segment", "Volume_1", {})
    client.save_label("Volume_1", mask, "final", {"label_info": [{"name": "lesion", "idx": 1}]})
    downloaded = client.download_label("Volume_1", "final")
    assert np.array_equal(nib.load(downloaded).dataobj, nib.load(mask).dataobj)
    assert client.datastore()["objects"]["Volume_1"]["labels"]["final"]["info"]["client_id"] == "tester"
    assert server.delete("/datastore/image?id=Volume_1").status_code == 200


def test_the_client_segments_a_session(client: MONAILabelClient, tmp_path: Path) -> None:
    volume = save(tmp_path / "volume.nii.gz", head(1))
    session = client.create_session(str(volume))["session_id"]
    mask, _ = client.infer("segment", "", {}, session_id=session)
    assert nib.load(mask).shape == head().shape
    client.remove_session(session)


def test_the_client_is_told_why_a_scan_is_refused(client: MONAILabelClient) -> None:
    with pytest.raises(MONAILabelClientException) as refused:
        client.infer("segment", "four-dimensional", {})
    assert (
        "Status: 422" in refused.value.msg
        and "four-dimensional: expected one 3-D volume" in refused.value.msg
    )


def test_the_client_gets_masks_of_scans_in_plain_sub_folders(client: MONAILabelClient) -> None:
    assert nib.load(client.infer("segment", NESTED_SCAN, {})[0]).shape == head().shape

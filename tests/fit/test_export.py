import pytest
import torch

from strokelabel.errors import CheckpointError, WeightsError
from strokelabel.fit.export import export_weights
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.networks.weights import load_weights
from support.bright_network import make_spec
from support.tiny_run import NETWORK, tiny_config, tiny_run

SPEC = make_spec(network=NETWORK.model_dump(mode="json"))


def assert_averages_of(path, checkpoint):
    loaded, _ = load_weights(path)
    expected = load_checkpoint(checkpoint).average
    assert all(torch.equal(value, expected[name]) for name, value in loaded.named_parameters())


def test_the_averaged_weights_of_the_best_validation_are_exported(tmp_path, undisturbed):
    folder = undisturbed.metrics.parent
    spec = export_weights(folder, SPEC, tmp_path / "best.safetensors", dtype="float32")
    assert (spec.training_step, spec.path) == (undisturbed.best_step, tmp_path / "best.safetensors")
    assert_averages_of(spec.path, undisturbed.best_checkpoint)


@pytest.mark.parametrize("whole_folder", [True, False])
def test_the_newest_weights_or_a_given_checkpoint_are_exported_when_asked_for(
    tmp_path, undisturbed, whole_folder
):
    source = undisturbed.metrics.parent if whole_folder else undisturbed.checkpoint
    spec = export_weights(source, SPEC, tmp_path / "new.safetensors", which="newest", dtype="float32")
    assert spec.training_step == 24
    assert_averages_of(spec.path, undisturbed.checkpoint)


def test_without_validation_and_averaging_the_plain_weights_are_exported(tmp_path):
    result = tiny_run(tmp_path / "run", tiny_config(steps=2, ema_decay=0), validation=None)
    export_weights(tmp_path / "run", SPEC, tmp_path / "plain.safetensors", dtype="float32")
    loaded, spec = load_weights(tmp_path / "plain.safetensors")
    expected = load_checkpoint(result.checkpoint).network
    assert spec.training_step == 2
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_several_checkpoints_give_the_mean_of_their_averages(tmp_path, undisturbed):
    others = [undisturbed.best_checkpoint, undisturbed.checkpoint]
    path = tmp_path / "mean.safetensors"
    spec = export_weights(undisturbed.checkpoint, SPEC, path, average_with=others, dtype="float32")
    loaded, _ = load_weights(path)
    best, newest = (load_checkpoint(one).average for one in others)
    assert spec.training_step == 24
    for name, value in loaded.named_parameters():
        torch.testing.assert_close(value, (2 * newest[name] + best[name]) / 3)


def test_the_weights_of_a_model_can_be_averaged_with_those_of_a_run(tmp_path, undisturbed):
    export_weights(undisturbed.best_checkpoint, SPEC, tmp_path / "model.safetensors", dtype="float32")
    path = tmp_path / "mean.safetensors"
    model = tmp_path / "model.safetensors"
    export_weights(undisturbed.checkpoint, SPEC, path, average_with=[model], dtype="float32")
    loaded, _ = load_weights(path)
    best, newest = (load_checkpoint(c).average for c in (undisturbed.best_checkpoint, undisturbed.checkpoint))
    for name, value in loaded.named_parameters():
        torch.testing.assert_close(value, (newest[name] + best[name]) / 2)


def test_an_empty_folder_or_another_networks_description_are_refused(tmp_path, undisturbed):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        export_weights(tmp_path, SPEC, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        export_weights(undisturbed.checkpoint, make_spec(), tmp_path / "a.safetensors")

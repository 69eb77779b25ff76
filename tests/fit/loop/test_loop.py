import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from strokelabel.errors import TrainingError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.loop.checkpoint import list_checkpoints, load_checkpoint
from strokelabel.fit.loop.optimizer import learning_rate
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.loop.training_run import TrainingRun
from support.tiny_run import SHAPE, CubeStream, tiny_config, tiny_network, tiny_run


class OneBatch:
    """The same batch at every step."""

    def __init__(self, batch: Batch) -> None:
        self.only = batch

    def batch(self, step: int) -> Batch:
        return self.only


class BrokenStream(CubeStream):
    """Images that hold NaN from a step on."""

    def __init__(self, broken: range) -> None:
        super().__init__()
        self.broken = broken

    def batch(self, step: int) -> Batch:
        batch = super().batch(step)
        if step in self.broken:
            batch.image[0, 0, 0, 0, 0] = torch.nan
        return batch


def test_a_tiny_network_learns_cubes_of_five_classes(tmp_path):
    config = tiny_config(steps=300, learning_rate=0.02, validate_every=300, checkpoint_every=0)
    result = tiny_run(tmp_path, config, validation=CubeStream(length=4))
    rows = read_metrics(result.metrics)
    assert rows[-1]["validation_loss"] < 0.6 * rows[0]["loss"]
    assert result.best_metric > 0.6
    assert rows[-1]["validation_dice_mean"] == result.best_metric


def test_the_record_holds_every_step_and_the_schedules_learning_rates(undisturbed):
    rows = read_metrics(undisturbed.metrics)
    assert [row["step"] for row in rows] == list(range(1, 25))
    assert [row["learning_rate"] for row in rows] == [
        learning_rate(step, tiny_config()) for step in range(24)
    ]
    validated = [row["step"] for row in rows if "validation_dice_mean" in row]
    assert validated == [8, 16, 24]


def test_only_the_newest_checkpoints_are_kept(undisturbed):
    names = [path.name for path in list_checkpoints(undisturbed.metrics.parent)]
    assert names == ["step-00000020.pt", "step-00000024.pt"]


def test_the_best_checkpoint_holds_the_weights_of_the_best_validation(undisturbed):
    rows = [row for row in read_metrics(undisturbed.metrics) if "validation_dice_mean" in row]
    best = max(rows, key=lambda row: row["validation_dice_mean"])
    checkpoint = load_checkpoint(undisturbed.best_checkpoint)
    assert (checkpoint.step, checkpoint.best_metric) == (best["step"], best["validation_dice_mean"])
    assert not checkpoint.optimizer


def test_checkpoints_come_by_the_clock_as_well(tmp_path):
    tiny_run(tmp_path, tiny_config(steps=3, checkpoint_every=0, checkpoint_minutes=1e-9, keep_last=9))
    assert [path.name[5:13] for path in list_checkpoints(tmp_path)] == [
        "00000000",
        "00000001",
        "00000002",
        "00000003",
    ]


def test_without_validation_there_is_no_best_checkpoint(tmp_path):
    result = tiny_run(tmp_path, tiny_config(steps=2), validation=None)
    assert result.finished
    assert (result.best_metric, result.best_checkpoint) == (None, None)
    assert not (tmp_path / "best.pt").exists()


def test_accumulation_takes_consecutive_batches(tmp_path):
    stream = CubeStream()
    tiny_run(tmp_path, tiny_config(steps=3, accumulate=2), stream=stream, validation=None)
    assert stream.asked == [0, 1, 2, 3, 4, 5]


def test_accumulated_gradients_are_averaged(tmp_path):
    rows = {}
    for accumulate in (1, 3):
        config = tiny_config(steps=4, accumulate=accumulate, ema_decay=0.0)
        network = tiny_network().eval()
        run = TrainingRun(network, config, Fabric(accelerator="cpu", devices=1))
        network.eval()  # no dropout, so that equal batches give equal gradients
        stream = OneBatch(CubeStream().batch(0))
        rows[accumulate] = [list(run.advance(stream).values()) for _ in range(4)]
    torch.testing.assert_close(torch.tensor(rows[1]), torch.tensor(rows[3]), rtol=1e-4, atol=1e-5)


def test_dropout_differs_between_steps_but_not_between_runs(tmp_path):
    def first_losses(seed: int) -> list[float]:
        config = tiny_config(learning_rate=1e-12, seed=seed)
        run = TrainingRun(tiny_network(), config, Fabric(accelerator="cpu", devices=1))
        stream = OneBatch(CubeStream().batch(0))
        return [run.advance(stream)["loss"].item() for _ in range(3)]

    assert len(set(first_losses(0))) == 3
    assert first_losses(0) == first_losses(0)
    assert first_losses(0) != first_losses(1)


def test_large_gradients_are_clipped(tmp_path):
    def movement(clip_norm: float) -> float:
        network = tiny_network()
        before = torch.cat([value.detach().flatten().clone() for value in network.parameters()])
        config = tiny_config(clip_norm=clip_norm, learning_rate=1.0, weight_decay=0.0)
        run = TrainingRun(network, config, Fabric(accelerator="cpu", devices=1))
        run.advance(CubeStream())
        gradient = [state["exp_avg"] * 10 for state in run.to_checkpoint(0).optimizer["state"].values()]
        assert not torch.equal(
            before, torch.cat([value.detach().flatten() for value in network.parameters()])
        )
        return torch.cat([value.flatten() for value in gradient]).norm().item()

    assert movement(0.01) == pytest.approx(0.01, rel=1e-3)
    assert movement(0.0) > 0.1


def test_weight_decay_leaves_biases_and_activation_slopes_alone():
    network = tiny_network()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    run = TrainingRun(
        network, tiny_config(learning_rate=1e-6, weight_decay=5e5), Fabric(accelerator="cpu", devices=1)
    )
    run.advance(CubeStream())
    for name, value in network.named_parameters():
        shrunk = bool((value.abs() < 0.6 * before[name].abs()).float().mean() > 0.5)
        assert shrunk == (value.ndim > 1), name


def test_a_step_with_an_undefined_gradient_is_left_out(tmp_path):
    network = tiny_network()
    run = TrainingRun(network, tiny_config(), Fabric(accelerator="cpu", devices=1))
    before = [value.detach().clone() for value in network.parameters()]
    row = run.advance(BrokenStream(range(1)))
    assert row["gradient_norm"] != row["gradient_norm"]
    assert all(torch.equal(value, old) for value, old in zip(network.parameters(), before, strict=True))
    run.advance(CubeStream())
    assert all(value.isfinite().all() for value in network.parameters())


def test_steps_with_too_large_gradients_are_left_out_and_counted(tmp_path):
    plain = tiny_run(tmp_path / "plain", tiny_config(steps=6))
    norms = [row["gradient_norm"] for row in read_metrics(plain.metrics)]
    limit = sorted(norms)[-2] + 1e-6
    strict = tiny_run(tmp_path / "strict", tiny_config(steps=6, largest_norm=limit))
    assert (plain.skipped, strict.skipped >= 1) == (0, True)
    expected = sum(row["gradient_norm"] > limit for row in read_metrics(strict.metrics))
    assert strict.skipped == expected


def test_training_gives_up_when_gradients_stay_undefined(tmp_path):
    with pytest.raises(TrainingError, match="lower the learning rate"):
        tiny_run(tmp_path, tiny_config(steps=100), stream=BrokenStream(range(2, 1000)))
    assert len(read_metrics(tmp_path / "metrics.csv")) == 21


def test_the_gradient_scaler_of_half_precision_is_checkpointed(tmp_path):
    def half() -> Fabric:
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", device="cpu"))

    config = tiny_config(precision="16-mixed")
    run = TrainingRun(tiny_network(), config, half())
    for _ in range(3):
        run.advance(BrokenStream(range(1)))
    checkpoint = run.to_checkpoint(0)
    assert checkpoint.scaler["scale"] == 2.0**15, "halved once, after the undefined gradient"

    again = TrainingRun(tiny_network(seed=8), config, half())
    again.restore(checkpoint)
    assert again.to_checkpoint(0).scaler == checkpoint.scaler
    assert again.advance(CubeStream()) == run.advance(CubeStream())


def test_memory_layout_changes_speed_and_not_results(tmp_path):
    losses = []
    for channels_last in (False, True):
        config = tiny_config(channels_last=channels_last)
        run = TrainingRun(tiny_network().eval(), config, Fabric(accelerator="cpu", devices=1))
        losses.append([run.advance(CubeStream())["loss"].item() for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


def test_the_number_of_threads_is_the_configured_one(tmp_path):
    tiny_run(tmp_path, tiny_config(steps=1, threads=1))
    assert torch.get_num_threads() == 1


def test_images_reach_the_network_as_the_stream_gave_them():
    batch = CubeStream(batch_size=2).batch(0).to(torch.device("cpu"))
    assert batch.image.shape == (2, 1, *SHAPE)
    assert batch.target.dtype == torch.uint8

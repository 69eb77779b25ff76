import os
import signal
import threading

import pytest

from strokelabel.errors import CheckpointError
from strokelabel.fit.loop.checkpoint import list_checkpoints, load_checkpoint
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.loop.training_loop import train
from strokelabel.networks.unet import UNetConfig, build_network
from support.tiny_run import CubeStream, assert_same_training, tiny_config, tiny_network, tiny_run


def test_a_run_stopped_on_request_ends_as_if_undisturbed(interrupted, undisturbed):
    assert read_metrics(interrupted / "metrics.csv")[-1]["step"] == 12
    assert_same_training(tiny_run(interrupted), undisturbed)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16-mixed", "channels_last": True},
        {"accumulate": 2, "ema_decay": 0.0},
    ],
)
def test_every_kind_of_run_resumes_exactly(tmp_path, changes):
    config = tiny_config(steps=10, **changes)
    whole = tiny_run(tmp_path / "whole", config)
    seen = []
    parts = {"on_progress": seen.append, "should_stop": lambda: len(seen) == 3}
    first = tiny_run(tmp_path / "parts", config, **parts)
    assert (first.steps, first.finished, first.stopped_by) == (4, False, "request")
    assert_same_training(tiny_run(tmp_path / "parts", config), whole)


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "empty", "not an archive"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(interrupted, undisturbed, caplog, damage):
    newest = list_checkpoints(interrupted)[-1]
    content = bytearray(newest.read_bytes())
    middle = len(content) // 2
    if damage == "flipped bit":
        content[middle] ^= 16
    damaged = {"truncated": content[:middle], "empty": b"", "not an archive": b"x" * 1000}.get(
        damage, content
    )
    newest.write_bytes(damaged)

    result = tiny_run(interrupted)

    assert newest.name in caplog.text
    assert "falling back" in caplog.text
    assert_same_training(result, undisturbed)


def test_training_does_not_silently_start_anew_when_every_checkpoint_is_damaged(interrupted):
    for path in list_checkpoints(interrupted):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        tiny_run(interrupted)


def test_the_checkpoint_of_another_network_is_refused(interrupted):
    other = build_network(UNetConfig(channels=(4, 8), strides=(2,)))
    with pytest.raises(CheckpointError, match="another folder"):
        train(other, CubeStream(), None, tiny_config(), interrupted, device="cpu")


def test_a_finished_run_started_again_does_nothing(tmp_path, undisturbed):
    config = tiny_config(steps=5)
    first = tiny_run(tmp_path, config)
    before = {path: path.read_bytes() for path in first.metrics.parent.rglob("*.*")}
    stream = CubeStream()
    again = tiny_run(tmp_path, config, stream=stream)
    assert (again.steps, again.finished, again.stopped_by) == (5, True, "schedule")
    assert stream.asked == []
    assert {path: path.read_bytes() for path in first.metrics.parent.rglob("*.*")} == before


def test_a_time_budget_stops_the_run_with_a_checkpoint_and_leaves_the_schedule(tmp_path, undisturbed):
    result = tiny_run(tmp_path, tiny_config(max_minutes=1e-9, checkpoint_every=0))
    assert (result.steps, result.stopped_by) == (0, "time")
    result = tiny_run(tmp_path, tiny_config(max_minutes=0.001))
    assert result.steps < 24
    assert result.checkpoint.exists()
    assert_same_training(tiny_run(tmp_path), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(tmp_path, number):
    handler = signal.getsignal(number)

    def send(progress):
        if progress.step == 3:
            os.kill(os.getpid(), number)

    result = tiny_run(tmp_path, on_progress=send)
    assert (result.steps, result.stopped_by) == (4, "request")
    assert load_checkpoint(result.checkpoint).step == 4
    assert signal.getsignal(number) is handler


def test_training_runs_outside_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(tiny_run(tmp_path, tiny_config(steps=2))))
    thread.start()
    thread.join()
    assert results[0].finished


def test_the_initial_weights_count_only_in_a_fresh_run(interrupted, undisturbed):
    arguments = {"device": "cpu", "on_progress": lambda progress: None}
    result = train(
        tiny_network(seed=99), CubeStream(), CubeStream(2), tiny_config(), interrupted, **arguments
    )
    assert_same_training(result, undisturbed)


def test_early_stopping_counts_validations_across_runs_and_stays_stopped(tmp_path):
    config = tiny_config(
        steps=100, validate_every=1, learning_rate=1e-12, early_stopping_patience=4, ema_decay=0
    )
    whole = tiny_run(tmp_path / "whole", config)
    assert (whole.steps, whole.best_step, whole.stopped_by, whole.finished) == (5, 1, "plateau", False)

    seen: list[object] = []
    tiny_run(tmp_path / "parts", config, on_progress=seen.append, should_stop=lambda: len(seen) == 2)
    assert_same_training(tiny_run(tmp_path / "parts", config), whole)

    again = tiny_run(tmp_path / "parts", config)
    assert (again.steps, again.stopped_by) == (5, "plateau")
    more_patient = config.model_copy(update={"early_stopping_patience": 6})
    assert tiny_run(tmp_path / "parts", more_patient).steps == 7

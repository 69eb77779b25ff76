"""Fine-tuning in several processes that the training process starts itself, as a server with several GPUs does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from strokelabel.errors import DataError, TrainingError
from strokelabel.fit.fine_tuning.cases import SubmittedLabel
from strokelabel.fit.fine_tuning.fine_tune import FineTuning
from strokelabel.fit.fine_tuning.options import FineTuneOptions
from strokelabel.fit.fine_tuning.versions import ModelVersions
from strokelabel.fit.loop.checkpoint import list_checkpoints
from strokelabel.fit.loop.devices import gpus_of
from strokelabel.fit.loop.local_processes import OnProgress, train_together
from strokelabel.fit.loop.training_loop import TrainingResult
from strokelabel.registry import read_spec
from support.new_contrast import small_model


def _is_resource_tracker(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return True


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """Other tests of this process may have servers, and Python's resource tracker stays; nothing else may."""

    def running() -> set[int]:
        found = (process for process in psutil.Process().children() if process.is_running())
        return {process.pid for process in found if not _is_resource_tracker(process)}

    before = running()
    yield
    assert running() <= before


def test_two_processes_share_a_session_that_is_stopped_resumed_and_judged(
    tmp_path: Path, prepared_folder: Path, labels: list[SubmittedLabel]
) -> None:
    versions = ModelVersions(tmp_path / "versions", read_spec(small_model()))
    tuning = FineTuning(versions, tmp_path / "work", prepared_folder, "cpu", processes=2)
    options = FineTuneOptions(
        steps=4, learning_rate=1e-3, benchmark_per_family=1, threads=1, paste_lesions=False, margin=1.0
    )
    seen: list[int] = []
    stopped = tuning.run(
        labels, options, on_progress=lambda at: seen.append(at.step), should_stop=lambda: True
    )
    assert stopped.stopped_by == "request" and stopped.steps < 4 and not stopped.judged
    result = tuning.run(labels, options, on_progress=lambda at: seen.append(at.step))
    assert result.judged and result.steps == 4 and result.session == stopped.session
    assert seen == [1, 2, 3, 4], "each step was reported once, by one of the processes"
    assert versions.spec(result.version or "").training_step <= 4
    assert list_checkpoints(tuning.folder / "sessions" / result.session)


def test_the_steps_of_an_epoch_are_shared_out_among_processes() -> None:
    options = FineTuneOptions(epochs=10, batch_size=2)
    assert options.total_steps(8, 0.5) == 80
    assert options.total_steps(8, 0.5, processes=4) == 20


def fall_ill(on_progress: OnProgress, should_stop: Callable[[], bool]) -> TrainingResult:
    """The second process refuses; the first waits for it."""
    if os.environ["RANK"] == "1":
        raise DataError("expected a brain, found none")
    return wait(on_progress, should_stop)


def be_killed(on_progress: OnProgress, should_stop: Callable[[], bool]) -> TrainingResult:
    """The second process is killed; the first waits for it."""
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return wait(on_progress, should_stop)


def wait(_: OnProgress, should_stop: Callable[[], bool]) -> TrainingResult:
    """For what another process would send, or until somebody wishes to stop."""
    import torch.distributed

    torch.distributed.barrier()
    raise AssertionError("the other process has come after all")


@pytest.mark.parametrize(
    ("work", "sentence"),
    [(fall_ill, "expected a brain, found none"), (be_killed, "SIGKILL.*start it again to resume")],
)
def test_when_one_process_fails_the_others_end_and_one_sentence_says_why(
    work: Callable[[OnProgress, Callable[[], bool]], TrainingResult], sentence: str
) -> None:
    with pytest.raises(TrainingError, match=sentence):
        train_together(work, 2)


@pytest.mark.parametrize(("device", "count"), [("cpu", 0), ("auto", 4), ("cuda", 4), ("cuda:2", 1)])
def test_cuda_means_all_gpus_and_a_number_means_one(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert gpus_of(device) == count

"""A run's record in MLflow's own file store."""

from __future__ import annotations

import builtins

import pytest
from mlflow.tracking import MlflowClient

from strokelabel.errors import TrainingError
from strokelabel.fit.loop.record import read_metrics
from support.tiny_run import tiny_config, tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:The filesystem tracking backend:FutureWarning")


def runs_of(store):
    client = MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("strokelabel")
    return client, client.search_runs([experiment.experiment_id])


def test_a_run_stopped_and_resumed_is_one_mlflow_run_with_every_step_once(tmp_path):
    store, seen = tmp_path / "store", []
    config = tiny_config(steps=6, validate_every=3, checkpoint_every=0, mlflow=str(store))
    tiny_run(tmp_path / "stroke-a", config, on_progress=seen.append, should_stop=lambda: len(seen) == 3)
    result = tiny_run(tmp_path / "stroke-a", config.model_copy(update={"learning_rate": 0.02}))

    client, (run,) = runs_of(store)
    assert (run.info.run_name, run.info.status) == ("stroke-a", "FINISHED")
    assert run.data.params["batch_size"] == "1"
    for name in ("loss", "gradient_norm", "validation_dice_mean"):
        logged = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        assert logged == [(row["step"], row[name]) for row in read_metrics(result.metrics) if name in row]


def test_steps_that_a_killed_run_had_logged_are_not_logged_again(tmp_path):
    config = tiny_config(steps=4, checkpoint_every=2, mlflow=str(tmp_path / "store"))
    tiny_run(tmp_path / "run", config)
    (tmp_path / "run" / "checkpoints" / "step-00000004.pt").unlink()
    tiny_run(tmp_path / "run", config)
    client, (run,) = runs_of(tmp_path / "store")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]


def test_a_store_that_was_deleted_gets_a_new_run(tmp_path):
    note = tmp_path / "run" / "mlflow-run.txt"
    for name in ("first", "second"):
        tiny_run(tmp_path / "run", tiny_config(steps=1 + (name == "second"), mlflow=str(tmp_path / name)))
        assert runs_of(tmp_path / name)[1][0].info.run_id == note.read_text().strip()


def test_only_local_folders_are_logged_to(tmp_path):
    with pytest.raises(TrainingError, match="name a folder"):
        tiny_run(tmp_path, tiny_config(mlflow="https://example.org/mlflow"))


def test_a_store_that_cannot_be_made_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(TrainingError, match="name another folder"):
        tiny_run(tmp_path / "run", tiny_config(mlflow=str(tmp_path / "store")))


def test_without_mlflow_the_option_says_what_to_install(tmp_path, monkeypatch):
    whole = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name.startswith("mlflow"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return whole(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(TrainingError, match="pip install"):
        tiny_run(tmp_path, tiny_config(mlflow=str(tmp_path / "store")))

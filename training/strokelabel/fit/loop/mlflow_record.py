"""Record of a run in a local MLflow file store, beside `metrics.csv`.

MLflow is imported only if it is used, and its reports to its makers are turned off.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelabel.errors import TrainingError
from strokelabel.io.atomic import atomic_write_text

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_EXPERIMENT = "strokelabel"
_RUN_FILE = "mlflow-run.txt"


class MlflowLog:
    """One MLflow run per training folder; a resumed training continues its run.

    Args:
        store: folder of the file store; made if there is none.
        folder: the training folder, whose name the MLflow run gets; keeps the run's id in `mlflow-run.txt`.
        settings: logged as the parameters of a new run.

    Raises:
        TrainingError: MLflow is not installed, refuses the store, or `store` is no folder but an address.
    """

    def __init__(self, store: str, folder: Path, settings: Mapping[str, Any]) -> None:
        if "://" in store:
            raise TrainingError(
                f"training.mlflow: expected a local folder, got the address {store!r}; name a folder"
            )
        self._store = store
        self._rows: list[Mapping[str, float]] = []
        with self._complaints():
            self._client = _client(Path(store))
            self._run = self._resume(folder / _RUN_FILE) or self._begin(folder, settings)
            history = self._client.get_metric_history(self._run, "loss")
        self._logged = max((point.step for point in history), default=0)

    def add(self, row: Mapping[str, float]) -> None:
        """Record a step; it is written by the next `sync`. Steps that an earlier run has logged are left out."""
        if row["step"] > self._logged:
            self._rows.append(row)

    def sync(self) -> None:
        """Write what was added.

        Raises:
            TrainingError: the store cannot be written to.
        """
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, int(row["step"]))
            for row in self._rows
            for name, value in row.items()
            if name != "step"
        ]
        with self._complaints():
            self._client.log_batch(self._run, metrics=metrics)
        self._logged = max([self._logged, *(int(row["step"]) for row in self._rows)])
        self._rows.clear()

    def close(self) -> None:
        """Write what was added, and mark the run as finished."""
        self.sync()
        self._client.set_terminated(self._run)

    def _resume(self, note: Path) -> str | None:
        """Return the id of the folder's run, if the store still has it."""
        from mlflow.exceptions import MlflowException

        if not note.exists():
            return None
        try:
            run: str = self._client.get_run(note.read_text().strip()).info.run_id
            self._client.update_run(run, status="RUNNING")
        except MlflowException:
            return None
        return run

    def _begin(self, folder: Path, settings: Mapping[str, Any]) -> str:
        """Return the id of a new run."""
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(_EXPERIMENT)
        run: str = self._client.create_run(number, run_name=folder.resolve().name).info.run_id
        self._client.log_batch(run, params=[Param(name, str(value)) for name, value in settings.items()])
        atomic_write_text(folder / _RUN_FILE, run + "\n")
        return run

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Raise errors of MLflow as ours."""
        try:
            yield
        except ImportError as error:
            raise TrainingError(
                "training.mlflow: MLflow is not installed; run `pip install 'strokelabel[server]'`, or leave the "
                "option out"
            ) from error
        except Exception as error:
            raise TrainingError(
                f"training.mlflow: expected a file store in {self._store}, MLflow cannot use it ({error}); name "
                "another folder, or leave the option out"
            ) from error


def _client(store: Path) -> MlflowClient:
    """Return a client of a file store, which contacts no server."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.telemetry import set_telemetry_client
    from mlflow.tracking import MlflowClient

    set_telemetry_client()  # reads the variable again, in case MLflow was imported before
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The filesystem tracking backend", FutureWarning)
        return MlflowClient(tracking_uri=store.resolve().as_uri())

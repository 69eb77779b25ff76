"""Record of a run: `metrics.csv`, and beside it a local MLflow file store.

MLflow is imported only if it is used, and its reports to its makers are turned off.
"""

from __future__ import annotations

import csv
import logging
import os
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from strokelabel.errors import CheckpointError, TrainingError
from strokelabel.io.atomic import atomic_write_text

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from torch.utils.tensorboard import SummaryWriter


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


_IN_FLIGHT = 2
"""Steps that a GPU may be behind the interpreter: enough to keep it busy, and few enough to bound the memory."""


class DeferredRows:
    """Rows that are passed on as plain numbers, in order, once a device has computed them.

    Reading a number from a GPU at once would leave it idle while the next step is prepared. Numbers are copied in the
    background instead, and waited for two steps later. On the CPU nothing is deferred.

    Args:
        device: where numbers that are tensors are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._rows: deque[_Row] = deque()

    def add(self, row: Mapping[str, float | Tensor]) -> list[dict[str, float]]:
        """Add a row; return the rows that are due, oldest first."""
        self._rows.append(_Row(row, self._cuda))
        return self._take(_IN_FLIGHT if self._cuda else 0)

    def flush(self) -> list[dict[str, float]]:
        """Wait for all rows, and return them."""
        return self._take(0)

    def _take(self, left: int) -> list[dict[str, float]]:
        return [self._rows.popleft().read() for _ in range(len(self._rows) - left)]


class _Row:
    """One row, its tensors on their way to the host."""

    def __init__(self, row: Mapping[str, float | Tensor], cuda: bool) -> None:
        self._names = list(row)
        self._plain = {name: value for name, value in row.items() if not isinstance(value, Tensor)}
        computed = {name: value for name, value in row.items() if isinstance(value, Tensor)}
        self._computed = list(computed)
        values = torch.stack([value.detach() for value in computed.values()]) if computed else torch.empty(0)
        self._arrived: torch.cuda.Event | None = None
        if cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values = host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._values = values

    def read(self) -> dict[str, float]:
        """Return the row as numbers, its names in their order."""
        if self._arrived is not None:
            self._arrived.synchronize()
        numbers = self._plain | dict(zip(self._computed, self._values.tolist(), strict=True))
        return {name: numbers[name] for name in self._names}


_LOG = logging.getLogger(__name__)

STEP_COLUMNS = ("step", "loss", "learning_rate", "gradient_norm")
"""Columns of `metrics.csv` that every step fills."""

VALIDATION_PREFIX = "validation_"
"""Begins the names of the columns that only steps with a validation fill; they depend on the objective."""


class RecordSink(Protocol):
    """Somewhere else that rows of a record go."""

    def add(self, row: Mapping[str, float], /) -> None:
        """Record a step."""
        ...

    def sync(self) -> None:
        """Write what was added; called before every checkpoint."""
        ...

    def close(self) -> None:
        """Close the record."""
        ...


class TrainingRecord:
    """Appends rows to a run's `metrics.csv` and TensorBoard events.

    Args:
        folder: the training folder.
        step: steps done; anything recorded after them is dropped.
        score_names: what a validation gives, in the order of the columns.
        also: receives the same rows.

    Raises:
        CheckpointError: an existing `metrics.csv` is not one of ours, or has other scores.
    """

    def __init__(
        self, folder: Path, step: int, score_names: tuple[str, ...], also: RecordSink | None = None
    ) -> None:
        self._also = also
        path = folder / "metrics.csv"
        self._columns = (*STEP_COLUMNS, *(VALIDATION_PREFIX + name for name in score_names))
        known, everything = _read_table(path)
        if known and known != self._columns:
            raise CheckpointError(
                f"{path}: expected columns {', '.join(self._columns)}, found {', '.join(known)}; train into another "
                "folder"
            )
        rows = [row for row in everything if row["step"] <= step]
        lines = [",".join(self._columns), *(self._line(row) for row in rows)]
        atomic_write_text(path, "\n".join(lines) + "\n")
        self._file = path.open("a", newline="")
        self._events = _open_events(folder / "tensorboard", step + 1)

    def add(self, row: Mapping[str, float]) -> None:
        """Record a step: `step` and any other of the columns."""
        self._file.write(self._line(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if self._events is not None and name != "step":
                self._events.add_scalar(
                    name.replace(VALIDATION_PREFIX, "validation/"), value, int(row["step"])
                )
        if self._also is not None:
            self._also.add(row)

    def sync(self) -> None:
        """Force all rows to the disk, so that no checkpoint is ahead of its record."""
        os.fsync(self._file.fileno())
        if self._events is not None:
            self._events.flush()
        if self._also is not None:
            self._also.sync()

    def close(self) -> None:
        """Close all records."""
        self._file.close()
        if self._events is not None:
            self._events.close()
        if self._also is not None:
            self._also.close()

    def _line(self, row: Mapping[str, float]) -> str:
        return ",".join(repr(row[name]) if name in row else "" for name in self._columns)


def _open_events(folder: Path, first_step: int) -> SummaryWriter | None:
    """Open TensorBoard's file of a run; None, with a log message, where that package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        _LOG.warning("tensorboard is not installed; the curves are in metrics.csv alone")
        return None
    return SummaryWriter(str(folder), purge_step=first_step)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `metrics.csv`, empty cells left out; no rows if there is no file.

    A last line that a kill cut short is dropped.

    Raises:
        CheckpointError: the table is none of ours, or a cell is no number.
    """
    return _read_table(path)[1]


def _read_table(path: Path) -> tuple[tuple[str, ...], list[dict[str, float]]]:
    """Return the columns and rows of a `metrics.csv`; neither if there is no file."""
    if not path.exists():
        return (), []
    text = path.read_text()
    complete = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(complete.splitlines())
    columns = tuple(reader.fieldnames or ())
    ours = columns[:4] == STEP_COLUMNS and all(name.startswith(VALIDATION_PREFIX) for name in columns[4:])
    if complete and not ours:
        raise CheckpointError(
            f"{path}: expected columns {', '.join(STEP_COLUMNS)} and validation scores, found "
            f"{', '.join(columns)}; move it away to start again"
        )
    try:
        return columns, [
            {name: (int if name == "step" else float)(cell) for name, cell in row.items() if cell}
            for row in reader
        ]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected numbers, {error}; move it away to start again") from error

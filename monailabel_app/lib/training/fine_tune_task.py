"""Train task: fine-tuning on the submitted labels of the datastore, with its entry in /info/."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from filelock import FileLock, Timeout
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.model import ServedModel
from lib.refusals import NameTakenError, answered_as_http
from lib.studies.datastore import StudiesDatastore
from lib.studies.review import Policy, training_tag
from lib.task_log import log_line
from lib.training.training_options import ROLLBACK, TrainOptions, default_config
from strokelabel.errors import LabelMapError, OutputError, StrokeLabelError
from strokelabel.fit.fine_tuning.cases import SubmittedLabel
from strokelabel.fit.fine_tuning.options import FineTuneResult
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.label_files import LESION_NAME, lesion_value

if TYPE_CHECKING:
    from strokelabel.fit.fine_tuning.options import FineTuneResult
    from strokelabel.fit.fine_tuning.versions import ModelVersions


logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_LINE_EVERY_S = 5.0


def read_stats(path: Path) -> dict[str, Any]:
    """Return the last stats that training wrote; {} before the first training."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class StatsWriter:
    """Writer of stats under the names that the stock viewers read, and of lines for GET /train/.

    Args:
        path: the file.
        epochs: shown as the total; progress in steps is spread over them.
    """

    def __init__(self, path: Path, epochs: int) -> None:
        self._path, self._epochs = path, epochs
        self._began = time.time()
        self._written = self._shown = -math.inf
        self._best: float | None = None
        self._last: dict[str, Any] = {}

    def progress(self, progress: TrainingProgress) -> None:
        """Note a finished step; the file is written every second, a line every few."""
        new_best = progress.best_metric != self._best
        self._best = progress.best_metric
        now = time.monotonic()
        last = progress.step == progress.steps
        if new_best or last or now - self._shown >= _LINE_EVERY_S:
            self._shown = now
            log_line(f"step {progress.step}/{progress.steps}  {progress}")
        if new_best or last or now - self._written >= _EVERY_S:
            self._written = now
            self._write(
                {
                    "status": "running",
                    "epoch": math.ceil(progress.step / progress.steps * self._epochs),
                    "step": progress.step,
                    "total_steps": progress.steps,
                    "loss": round(progress.loss, 5) if math.isfinite(progress.loss) else 0.0,
                    "best_metric": round(self._best or 0.0, 4),
                    "current_time": self._elapsed(),
                }
            )

    def finished(self, result: FineTuneResult) -> None:
        """Note the end, with its decision and numbers."""
        log_line(str(result))
        done = result.judged
        self._write(
            {
                **self._last,
                "status": "done" if done else "stopped",
                "epoch": self._epochs if done else self._last.get("epoch", 0),
                "best_metric": round(_best_dice(result), 4) if done else self._last.get("best_metric", 0.0),
                "total_time": self._elapsed(),
                "result": result.model_dump(mode="json"),
            }
        )

    def failed(self, message: str) -> None:
        """Note why there is no result."""
        log_line(f"error: {message}")
        self._write({"best_metric": 0.0, "epoch": 0, **self._last, "status": "error", "message": message})

    def _write(self, content: dict[str, Any]) -> None:
        self._last = {"total_epochs": self._epochs, **content}
        try:
            atomic_write_json(self._path, self._last)
        except OutputError as error:
            logger.warning(error)

    def _elapsed(self) -> str:
        return time.strftime("%H:%M:%S", time.gmtime(time.time() - self._began))


def _best_dice(result: FineTuneResult) -> float:
    """Return the Dice of the new weights on held-out labels, or on the benchmark where none were held out."""
    if result.decision is None:
        return 0.0
    after = result.decision.after
    return after.submitted if after.submitted is not None else (after.benchmark or 0.0)


_UNAVAILABLE = 503


def submitted_labels(datastore: Datastore, policy: Policy = "reviewed") -> list[SubmittedLabel]:
    """Return the scans that have a label to train on, with the value of the lesion in it.

    Final labels that were put there by hand on another grid than their scan's are among them, so that fine-tuning
    refuses them by name.

    Args:
        datastore: the app's own; a label that names classes but no lesion is left out, with a line of log.
        policy: "reviewed": labels that a person drew, accepted or corrected; "all": those of models too.
    """
    found = []
    for image in datastore.list_images():
        tags = datastore.get_labels_by_image_id(image)
        infos = {str(getattr(tag, "value", tag)): datastore.get_label_info(image, tag) or {} for tag in tags}
        tag = training_tag(infos, policy)
        if tag is None:
            continue
        try:
            value = lesion_value(infos[tag])
        except LabelMapError:
            logger.warning(f"{image} is left out: its label has no class named {LESION_NAME!r}")
            continue
        try:
            path, label = datastore.get_image_uri(image), datastore.get_label_uri(image, tag)
        except HTTPException as error:  # a series or SEG of a PACS that cannot be used
            if error.status_code == _UNAVAILABLE:
                raise
            logger.warning(f"{image} is left out: {error.detail}")
            continue
        subject = str((datastore.get_image_info(image) or {}).get("PatientID") or subject_of(image))
        found.append(SubmittedLabel(image, subject, Path(path), Path(label), value))
    refused = datastore.refused_labels() if isinstance(datastore, StudiesDatastore) else {}
    for image, path in refused.items():
        scan = Path(datastore.get_image_uri(image))
        found.append(SubmittedLabel(image, subject_of(image), scan, Path(path)))
    return found


def subject_of(image: str) -> str:
    """Return the subject of a scan whose header does not name it: its BIDS subject, or the scan's id."""
    first = image.split("_", 1)[0]
    return first if first.startswith("sub-") else image


class FineTuneTask(TrainTask):
    """Fine-tunes the active version of a model, and activates the result if it is not worse.

    MONAI Label runs it in a process of its own, and stops it by killing that. Everything is written atomically, and
    an equal request continues from the newest checkpoint.

    Args:
        versions: of the model.
        prepared: folder of `strokelabel prepare` for synthetic samples; None for the ICBM template's.
    """

    def __init__(self, versions: ModelVersions, prepared: Path | None = None) -> None:
        super().__init__("Fine-tunes the model on submitted labels; activates the result if it is not worse")
        self._versions = versions
        self._prepared = prepared
        self._folder = versions.folder / "training"
        self._stats = self._folder / "stats.json"

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show."""
        return default_config()

    def stats(self) -> dict[str, Any]:
        """Return the progress of the current or last training, and the active version."""
        stats = read_stats(self._stats)
        return {**stats, "active_version": self._versions.active()[0]} if stats else {}

    @answered_as_http()
    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, or go back to the version before.

        Args:
            request: see `TrainOptions`.
            datastore: whose labels are trained on; see `submitted_labels`.

        Returns:
            The result (`FineTuneResult`), with the decision and its numbers, as JSON.

        Raises:
            HTTPException: with a sentence; 400 impossible options, 409 training is under way, 503 nothing to train on.
        """
        options = TrainOptions.from_request(request)
        if options.action == ROLLBACK:
            return self._rollback()
        stats = StatsWriter(self._stats, options.tuning.epochs)
        with self._alone():
            try:
                result = self._train(options, datastore, stats)
            except StrokeLabelError as error:
                stats.failed(str(error))
                raise
        stats.finished(result)
        return result.model_dump(mode="json")

    def _train(self, options: TrainOptions, datastore: Datastore, stats: StatsWriter) -> FineTuneResult:
        from strokelabel.fit.fine_tuning.fine_tune import FineTuning
        from strokelabel.fit.loop.devices import gpus_of

        processes = max(1, gpus_of(options.device)) if options.multi_gpu else 1
        tuning = FineTuning(self._versions, self._folder, self._prepared, options.device, processes)
        labels = submitted_labels(datastore, options.pseudo_labels)
        return tuning.run(
            labels, options.tuning, on_progress=stats.progress, should_stop=_parent_is_gone(os.getppid())
        )

    def _rollback(self) -> dict[str, Any]:
        name = self._versions.rollback()
        log_line(f"version {name} is active again")
        return {"active": name, "history": list(self._versions.history())}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Allow one training at a time, also when a server was killed and its training lives on for a moment."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "training.lock", timeout=30):
                yield
        except Timeout as error:
            raise NameTakenError("another training of this model is running; stop it first.") from error


def _parent_is_gone(parent: int) -> Callable[[], bool]:
    """Return a function that tells whether the server that started this process has died: then training stops, with a
    checkpoint.
    """
    return lambda: os.getppid() != parent


def make_trainers(model: ServedModel, conf: Mapping[str, str]) -> dict[str, TrainTask]:
    """Return the train task `segment`; `--conf prepared FOLDER` names data of `strokelabel prepare` for synthetic
    samples.
    """
    prepared = Path(conf["prepared"]).expanduser().resolve() if conf.get("prepared") else None
    if prepared is not None and not prepared.is_dir():
        logger.warning(f"--conf prepared: there is no folder {prepared}; using the ICBM template instead")
    return {"segment": FineTuneTask(model.versions, prepared)} if model.versions is not None else {}

"""Where training keeps its files, and which train tasks there are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from monailabel.interfaces.tasks.train import TrainTask

from lib.model import ServedModel
from lib.trainers.fine_tune_task import FineTuneTask

logger = logging.getLogger(__name__)


def versions_folder(app_dir: str, studies: str, conf: Mapping[str, str]) -> Path:
    """Folder of the versions that fine-tuning makes.

    `--conf models FOLDER`; else hidden in the studies folder, because weights that were fine-tuned on these labels
    belong to them; in the app's folder where the studies are a web address.
    """
    if conf.get("models"):
        return Path(conf["models"]).expanduser().resolve()
    if studies.startswith(("http://", "https://")):
        return Path(app_dir) / "model"
    return Path(studies).resolve() / ".strokelabel" / "models"


def make_trainers(model: ServedModel, conf: Mapping[str, str]) -> dict[str, TrainTask]:
    """The train task `segment`; `--conf prepared FOLDER` names data of `strokelabel prepare` for synthetic samples."""
    prepared = Path(conf["prepared"]).expanduser().resolve() if conf.get("prepared") else None
    if prepared is not None and not prepared.is_dir():
        logger.warning(f"--conf prepared: there is no folder {prepared}; the ICBM template serves instead")
    return {"segment": FineTuneTask(model.versions, prepared)} if model.versions is not None else {}

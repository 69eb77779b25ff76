"""Training's entry in /info/: kept in a file, because training runs in a process of its own."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

from lib.task_output import say
from strokelabel.errors import OutputError
from strokelabel.fit.fine_tuning.options import FineTuneResult
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.io.atomic import atomic_write_json

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
            say(f"step {progress.step}/{progress.steps}  {progress}")
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
        say(str(result))
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
        say(f"error: {message}")
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

"""Places of the app's own files: hidden in the studies folder, or in the app's where the studies are a web address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def is_web_address(studies: str) -> bool:
    """Return whether `--studies` is an address of a server rather than a folder."""
    return studies.startswith(("http://", "https://"))


def cache_folder(app_dir: str, studies: str) -> Path:
    """Return the folder of cached results: hidden in the studies folder; in the app's where the studies are a web
    address.
    """
    if is_web_address(studies):
        return Path(app_dir) / "cache"
    return Path(studies).resolve() / ".strokelabel" / "cache"


def log_folder(app_dir: str, studies: str) -> Path:
    """Return the folder of the logs: hidden in the studies folder; in the app's folder where the studies are a web
    address.
    """
    if is_web_address(studies):
        return Path(app_dir) / "logs"
    return Path(studies) / ".strokelabel" / "logs"


def versions_folder(app_dir: str, studies: str, conf: Mapping[str, str]) -> Path:
    """Return the folder of the versions that fine-tuning makes.

    `--conf models FOLDER`; else hidden in the studies folder, because weights that were fine-tuned on these labels
    belong to them; in the app's folder where the studies are a web address.
    """
    if conf.get("models"):
        return Path(conf["models"]).expanduser().resolve()
    if is_web_address(studies):
        return Path(app_dir) / "model"
    return Path(studies).resolve() / ".strokelabel" / "models"

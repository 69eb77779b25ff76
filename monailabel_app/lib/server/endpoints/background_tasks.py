"""Endpoints of training, scoring and batch inference, with the signatures of MONAI Label's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException
from monailabel.endpoints import batch_infer, scoring, train
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance

from lib.infers.batch import check_batch
from lib.refusals import ForbiddenError, InvalidRequestError, TooLargeError, answered_as_http, named
from lib.scoring.method import queue_scoring
from lib.server import tasks
from lib.studies.scan_list import check_name
from lib.training.training_options import TrainOptions

MOST_BYTES = 64 * 1024
"""Largest size of options: they go to the process as one argument, for which Linux has a limit of 128 kB."""

_NEVER = ("bundle_path", "local_rank", "tracking_uri", "distributed_url", "distributed_backend")
"""Options of stock tasks that load code from a path or call another machine."""

_GPUS = re.compile(r"all|\d{1,3}(,\d{1,3}){0,63}")


def check_params(params: Mapping[str, Any] | None, **names: str) -> None:
    """Refuse options that a process cannot be started with, or that change what it is.

    Args:
        params: the options of a request.
        names: what the address of the request named: model="segment".

    Raises:
        TooLargeError, ForbiddenError, InvalidRequestError: saying which.
    """
    params = params or {}
    if len(json.dumps(params)) > MOST_BYTES:
        raise TooLargeError(f"params: expected at most {MOST_BYTES // 1024} kB of options, found more.")
    for name in _NEVER:
        if params.get(name):
            raise ForbiddenError(f"{name}: this server takes no such option; leave it out.")
    for name, value in names.items():
        if params.get(name, value) != value:
            raise InvalidRequestError(
                f"{name}: expected {value!r}, as in the address, found {params[name]!r}."
            )
    gpus = params.get("gpus")
    if gpus and not (isinstance(gpus, str) and _GPUS.fullmatch(gpus)):
        raise InvalidRequestError(f"gpus: expected 'all' or numbers such as '0,1', found {gpus!r}.")
    for name in ("label_tag", "name"):
        if params.get(name):
            check_name(params[name], name)


def check_training(model: str, params: dict[str, Any] | None = None) -> None:
    """Refuse what MONAI Label would start a process for, that then fails without a message.

    Raises:
        HTTPException: 404 no such trainer, 400 impossible options.
    """
    trainers = app_instance()._trainers
    if model not in trainers:
        raise HTTPException(404, f"No trainer {model!r}; there are: {', '.join(sorted(trainers)) or 'none'}.")
    with answered_as_http():
        TrainOptions.from_request(params or {})


Params = dict[str, Any] | None

DEFAULT_BATCH = {
    "device": "cpu",
    "save_label": True,
    "label_tag": "original",
    "max_workers": 1,
    "multi_gpu": False,
}


def train_one(model: str, params: Params = None, run_sync: bool = False, enqueue: bool = False) -> Any:  # noqa: ANN401
    """Start the training of one model."""
    check_training(model, params)
    check_params(params, model=model)
    return tasks.start("train", {"model": model}, params, wait=run_sync, enqueue=enqueue)


def train_all(params: Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start the trainings that the body names, {model: options}, as OHIF asks; all of them when it names none."""
    models = list(params or app_instance()._trainers)
    for model in models:
        options = (params or {}).get(model) or {}
        if not isinstance(options, dict):
            raise InvalidRequestError(
                "body: expected {model: {option: value}}, found something else; or use POST /train/{model}."
            )
        check_training(model, options)
        check_params(options, model=model)
    started = {}
    for index, model in enumerate(models):
        options = (params or {}).get(model) or {}
        task = tasks.start("train", {"model": model}, options, wait=run_sync, enqueue=index > 0)
        started[model] = {"result": task, "detail": None}
    return started


def train_status(all: bool = False, check_if_running: bool = False) -> Any:  # noqa: ANN401
    """Return the latest training."""
    return tasks.status("train", all, check_if_running)


def train_stop() -> Any:  # noqa: ANN401
    """Stop the training that runs."""
    return tasks.stop("train")


def score_one(method: str, params: Params = None, run_sync: bool = False) -> Any:  # noqa: ANN401
    """Start one scoring method, or name the job of it that waits already."""
    named(app_instance()._scoring_methods, method, "scoring method")
    check_params(params, method=method)
    if not run_sync:
        return tasks.shown(queue_scoring(app_instance(), method, params))
    return tasks.start("scoring", {"method": method}, {**(params or {}), "background": False}, wait=True)


def score_all(params: Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start every scoring method, each at most once."""
    started: dict[str, Any] = {}
    for method in app_instance()._scoring_methods:
        options = (params or {}).get(method) or {}
        started[method] = {"result": score_one(method, options, run_sync), "detail": None}
    return started


def score_status(all: bool = False, check_if_running: bool = False) -> Any:  # noqa: ANN401
    """Return the latest scoring."""
    return tasks.status("scoring", all, check_if_running)


def score_stop() -> Any:  # noqa: ANN401
    """Stop the scoring that runs."""
    return tasks.stop("scoring")


def batch(
    model: str,
    images: BatchInferImageType = BatchInferImageType.IMAGES_ALL,
    params: Params = None,
    run_sync: bool = False,
) -> Any:  # noqa: ANN401
    """Segment many images."""
    options = params if params is not None else DEFAULT_BATCH
    check_batch(model, images, options)
    check_params(params, model=model)
    return tasks.start("batch_infer", {"model": model, "images": images}, options, wait=run_sync)


def batch_status(all: bool = False, check_if_running: bool = False) -> Any:  # noqa: ANN401
    """Return the latest batch inference."""
    return tasks.status("batch_infer", all, check_if_running)


def batch_stop() -> Any:  # noqa: ANN401
    """Stop the batch inference that runs."""
    return tasks.stop("batch_infer")


INSTEAD_OF: dict[Callable[..., Any], Callable[..., Any]] = {
    train.api_run_model: train_one,
    train.api_run: train_all,
    train.api_status: train_status,
    train.api_stop: train_stop,
    scoring.api_run_method: score_one,
    scoring.api_run: score_all,
    scoring.api_status: score_status,
    scoring.api_stop: score_stop,
    batch_infer.api_run: batch,
    batch_infer.api_status: batch_status,
    batch_infer.api_stop: batch_stop,
}
"""Endpoint of MONAI Label that each replaces."""

"""Options of background tasks, which become arguments and environment of a process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lib.refusals import ForbiddenError, InvalidRequestError, TooLargeError
from lib.studies import check_name

MOST_BYTES = 64 * 1024
"""The options go to the process as one argument, for which Linux has a limit of 128 kB."""

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

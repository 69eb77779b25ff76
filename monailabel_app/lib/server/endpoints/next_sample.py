"""Endpoint for the next scan to label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends
from monailabel.config import settings
from monailabel.endpoints import activelearning
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance


def next_sample(
    strategy: str,
    params: dict[str, Any] | None = None,
    user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)),  # noqa: B008 - as FastAPI wants it
) -> dict[str, Any]:
    """Return the image to label next, with its information; {} when all are labelled.

    MONAI Label's own describes the whole app for each request, and notes a second time who was given the image.
    """
    request = {"client_id": user.username, **(params or {}), "strategy": strategy}
    app = app_instance()
    chosen = app.next_sample(request)
    return {**chosen, **app.datastore().get_image_info(chosen["id"])} if chosen else {}


INSTEAD_OF: dict[Callable[..., Any], Callable[..., Any]] = {activelearning.api_sample: next_sample}
"""Endpoint of MONAI Label that it replaces."""

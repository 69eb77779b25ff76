"""Sign-in for clients that only know MONAI Label's own: the token is the password, for any user name.

The stock 3D Slicer plugin and `monailabel.client` ask GET /auth/ whether there is a sign-in, and then exchange a
password for a token that they send as `Authorization: Bearer`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException

from lib.server.middleware.guard import same_secret


def sign_in_routes(token: str) -> APIRouter:
    """Return the three routes of the sign-in.

    Args:
        token: the server's token.
    """
    router = APIRouter(prefix="/auth", tags=["Auth"])

    @router.get("/", summary="Report whether sign-in is required")
    async def enabled() -> dict[str, Any]:
        return {"enabled": True, "client_id": "", "realm": ""}

    @router.post("/token", summary="Exchange a password for the token")
    async def exchange(
        username: Annotated[str, Form()] = "", password: Annotated[str, Form()] = ""
    ) -> dict[str, str]:
        if not same_secret(password, token):
            raise HTTPException(
                401, "The password is not this server's token.", {"WWW-Authenticate": "Bearer"}
            )
        return {"access_token": token, "token_type": "bearer"}

    @router.get("/token/valid", summary="Check the token of the request")
    async def valid() -> dict[str, str]:
        return {"username": "user"}  # with a wrong one the request does not come this far

    return router

"""Middleware of every request: address and token, limits, admission, the log.

Endpoints are in `server.endpoints`.
"""

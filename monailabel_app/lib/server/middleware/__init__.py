"""Middleware of every request: address and token, and limits.

The log of requests is in `server.logs`, endpoints are in `server.endpoints`.
"""

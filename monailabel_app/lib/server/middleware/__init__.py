"""What every request passes on its way: address and token, limits, admission, the log.

Endpoints are in `server.endpoints`.
"""

"""Endpoints of the server: MONAI Label's own, checked first, and those that it lacks.

Each module adds routes; decisions are made in the packages that it calls.
"""

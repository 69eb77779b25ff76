"""Lesion and tissues of a scan, or of all sequences of a session together.

The predictor, what it returns, what callers may choose, and the files that are written.
"""

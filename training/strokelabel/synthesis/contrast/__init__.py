"""Contrast of a synthetic image: intensities of tissues and structures, by mixture or by physics.

The effects of scanners are in `synthesis.scanner`.
"""

"""Quantitative maps of a T1-weighted scan (qATLAS).

The predictor and its files.
"""

"""Scores of models on the synthetic benchmark: measured, tabulated, and summed up in one number.

Data sets with masks are scored by `reports.evaluation`.
"""

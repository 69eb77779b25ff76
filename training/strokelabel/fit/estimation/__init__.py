"""Estimation of quantitative maps as an objective of the training loop (qATLAS).

Losses and scores only; the simulated scans are in `strokelabel.fit.data.quantitative_streams`.
"""

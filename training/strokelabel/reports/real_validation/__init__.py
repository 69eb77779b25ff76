"""The real validation set: its files as a BIDS data set, and what models score on it.

What counts is decided here; predicting and comparing masks is left to `reports.evaluation`.
"""

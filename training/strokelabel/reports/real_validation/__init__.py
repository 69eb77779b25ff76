"""Real validation set: its files as a BIDS data set, and its scores.

What counts is decided here; predicting and comparing masks is left to `reports.evaluation`.
"""

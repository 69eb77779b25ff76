"""Prediction: from a scan to probabilities, masks, structures or maps on the scan's own grid.

Parts that all predictors share lie here; each kind of prediction has a module or package of its own.
"""

"""Infer tasks: segmentation, ensembles, refinement, and the batch task.

Nothing here trains, and nothing here answers HTTP by itself.
"""

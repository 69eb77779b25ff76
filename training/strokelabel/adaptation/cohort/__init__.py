"""Adaptation of all weights of a model to a cohort without labels: `run.CohortAdaptation`.

The model is trained on its own pseudo-labels; what is written is another model, and the first one never changes.
"""

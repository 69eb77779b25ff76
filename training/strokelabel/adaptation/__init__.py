"""Adaptation of a model to a scan without labels: `adapt.adapt` for one scan, `adapt.AdaptingPredictor` for many.

What is adapted is a small network in front of the model, a new one for every scan; the model itself never changes.
"""

"""Masks of an unlabelled cohort, made by a model, with a record of their quality.

Used as lesions of synthetic images in training, and for review by annotators.
"""

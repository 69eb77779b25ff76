"""Prediction of outcomes from stroke lesions and clinical facts, with its protocol; for research."""

"""Scoring methods: how well predictions fit submitted labels, and how sure the model is.

Their results are kept in the info of images.
"""

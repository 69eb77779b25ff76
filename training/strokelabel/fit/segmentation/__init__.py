"""Segmentation as an objective of the training loop: losses and scores of classes.

Networks are in `strokelabel.networks`, images in `strokelabel.fit.data`.
"""

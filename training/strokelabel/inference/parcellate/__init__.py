"""Structures of a scan and their volumes (SynthSeg).

The predictor, its files, and its batches.
"""

"""Postprocessing of probabilities: threshold, lesions outside the brain, holes and small lesions.

Modules here work on arrays alone and know neither networks nor files.
"""

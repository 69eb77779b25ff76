"""From probabilities to a mask: threshold, what lies outside the brain, holes, and lesions too small to believe.

Modules here work on arrays alone and know neither networks nor files.
"""

"""Tissue maps with errors, for a network that learns to correct them.

The errors are those of a segmentation that has gone wrong: patches from elsewhere, and lesions that are missing, at
another place, too large or too small, or invented.
"""

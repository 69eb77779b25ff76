"""Label maps with errors, for networks that learn to correct them, or to judge them.

The errors are those of a segmentation that has gone wrong. Of tissue maps: patches from elsewhere, and lesions that are
missing, at another place, too large or too small, or invented. Of parcellations: see `segmentation_errors`.
"""

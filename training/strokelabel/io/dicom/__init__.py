"""DICOM: series of images read from their own tags, and segmentations (SEG) of series.

Nothing here takes for fact what a file does not say; `reader` is the way in for scans.
"""

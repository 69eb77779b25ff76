"""Annotated scans as a training stream: settings, preparation, augmentation.

Whole scans with lesion masks; slices and scans without masks are in `real_images`.
"""

"""Effects of the scanner on a synthetic image: coils, coverage, bias, slices, noise, computed tomography.

Applied after the contrast; signal equations are in `strokelabel.physics`.
"""

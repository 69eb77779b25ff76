"""Effects of the scanner beyond bias, slices and noise: coils, partial coverage, computed tomography."""

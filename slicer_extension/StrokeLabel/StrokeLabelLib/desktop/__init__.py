"""Part of the module that only desktop 3D Slicer needs (Qt), without logic. Tests check its names; none runs it."""

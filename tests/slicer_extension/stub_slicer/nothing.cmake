# 3D Slicer packages here.

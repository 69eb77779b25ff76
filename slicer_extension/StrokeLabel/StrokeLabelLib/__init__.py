"""Library of the 3D Slicer module and the browser page of StrokeLabel: no Qt, no torch, no strokelabel.

It needs numpy, scipy and requests, all in 3D Slicer's own Python; `mrml` alone also needs vtk and slicer.
"""

__version__ = "0.1.0"

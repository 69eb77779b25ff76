"""Volumes, masks, overlays and clicks as MRML nodes: the only part that needs vtk and slicer.

Works in 3D Slicer and with the slicer-core package. The scene is always given; `slicer.mrmlScene`, `slicer.app` and
`slicer.modules` are not used. Everything here runs on the main thread.
"""

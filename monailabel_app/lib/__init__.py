"""MONAI Label app of StrokeLabel.

`app` is the app itself; each package below holds one of its parts.
"""

"""MONAI Label app of StrokeLabel.

`app` prepares and checks every request; each package holds one part of the app.
"""

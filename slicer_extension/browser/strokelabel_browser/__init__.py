"""Browser page: StrokeLabelLib's presenter behind a trame-slicer page."""

"""What only desktop 3D Slicer needs: Qt. It decides nothing; not run by the repository's tests, which check its names."""

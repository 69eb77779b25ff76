"""What only desktop 3D Slicer needs: Qt. It decides nothing. The repository's tests check its names; none runs it."""

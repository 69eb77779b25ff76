"""Choice of the scan to label next."""

"""Pages about lesions: one per scan with pictures, and an index of all scans of a folder of results."""

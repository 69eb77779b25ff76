"""Real images in the training of a model that is otherwise taught by synthetic ones: real slices as slabs, and real
scans with lesions painted in. Preparation, settings, random changes and streams of both."""

"""Forward and backward pass as CUDA graphs: recorded once for each kind of batch, then replayed without the
interpreter. What is in a pass is decided elsewhere, by network and objective."""

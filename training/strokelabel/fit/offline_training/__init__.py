"""Training on a machine that has PyTorch and no package index: what is packed for it, and the program that trains there
for a given number of seconds."""

"""Self-supervised pre-training of an encoder on pairs of simulated contrasts (contrast-squared, Chalcroft et al. 2025).

Two views show one subject in different contrasts, moved and disturbed independently. The encoder learns to represent
them alike and other subjects differently, so that what it represents is anatomy, whatever the sequence.
"""

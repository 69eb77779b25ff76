"""Train task, its options, the labels it takes, and its statistics.

Fine-tuning itself is in `strokelabel.fit.fine_tuning`.
"""

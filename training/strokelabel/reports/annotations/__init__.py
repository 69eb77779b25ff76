"""The annotation report: who labelled what, how long it took, and what was changed."""

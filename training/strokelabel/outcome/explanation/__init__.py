"""Maps in ICBM space of where damage goes with an outcome: lesion-symptom mapping, and saliency of a network."""

"""Evaluation of models on a data set with lesion masks: cases, scores, tables and pictures."""

"""Annotation report: annotators, times and changes."""

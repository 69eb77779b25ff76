"""Lesions of synthetic images: which, where, of what age and how bright, and what looks like them.

The bank of real masks is drawn from here, and filled by `synthesis.prepared`.
"""

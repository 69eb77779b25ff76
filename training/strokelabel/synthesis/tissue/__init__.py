"""Brightness of structures and of what lies around the brain, beyond one mean per tissue group."""

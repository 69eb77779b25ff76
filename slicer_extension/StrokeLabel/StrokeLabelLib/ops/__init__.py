"""Editing operations on masks: plain functions of arrays (i, j, k), with spacing in mm where lengths matter."""

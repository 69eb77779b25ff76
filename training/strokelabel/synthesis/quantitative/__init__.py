"""Heads given by quantitative maps in place of label maps, and the samples that estimators are trained on.

Files of maps are read and checked here (qATLAS).
"""

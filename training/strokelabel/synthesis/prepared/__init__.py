"""Prepared training data: label maps registered to ICBM space, and lesion masks on the ICBM grid.

Reading and preparing files once; what is drawn for each image belongs elsewhere.
"""

"""Helpers of the tests: phantoms, small models and data sets, servers and pages that are started for a test.

Scripts among them are longer trials that are run by hand; each says how at its top.
"""

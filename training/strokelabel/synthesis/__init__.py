"""Synthetic training images: generators, their settings, and records that replay an image from its seed.

Parameters are sampled apart from being applied; nothing here trains a network.
"""

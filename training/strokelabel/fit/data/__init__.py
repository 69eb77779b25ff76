"""Streams of training and validation images: each item is a pure function of its number.

One module for each source of images; sources with many parts have packages of their own.
"""

"""The images and labels of a studies folder: found, listed, checked, kept, reviewed.

What a PACS holds is in `dicomweb`; requests are answered in `server`.
"""

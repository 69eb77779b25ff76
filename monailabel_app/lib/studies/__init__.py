"""Images and labels of a studies folder: search, checks, storage and review.

What a PACS holds is in `dicomweb`; requests are answered in `server`.
"""

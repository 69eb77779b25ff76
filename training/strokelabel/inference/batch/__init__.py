"""Many scans, one model: the runner and its table, whose rows are on the disk after every scan.

Nothing here knows what is predicted beyond the lesion table's columns.
"""

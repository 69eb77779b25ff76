"""Training loop and its parts for every task: checkpoints, devices, records, schedules.

Nothing here knows about lesions, tissues or where images come from.
"""

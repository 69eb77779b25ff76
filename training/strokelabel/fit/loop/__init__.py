"""The training loop and what it needs whatever the task: checkpoints, devices, records, schedules.

Nothing here knows about lesions, tissues or where images come from.
"""

"""Server around the app: checks, refusals, logs and tasks.

Put in place by `startup` while MONAI Label's server starts.
"""

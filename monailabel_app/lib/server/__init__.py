"""The server around the app: what is checked, refused, logged and run beside it.

Put in place by `startup` while MONAI Label's server starts.
"""

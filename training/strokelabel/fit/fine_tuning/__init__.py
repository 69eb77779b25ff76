"""Fine-tuning on submitted labels: cases, sessions, the gate at their end, and versions of models.

Called by the command line and by the train task of the MONAI Label app.
"""

"""Client of the MONAI Label server: requests, answers as data classes, and jobs that do not block the view."""

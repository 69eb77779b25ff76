"""Session of one user: the case, its history, the logic of the interface, and the state of the view."""

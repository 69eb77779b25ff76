"""One user's work: the case, its history, every decision of the interface, and what a view must show."""

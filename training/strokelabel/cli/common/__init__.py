"""Options, batches and tasks that several commands share."""

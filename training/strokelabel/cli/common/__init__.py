"""What several commands share: options, batches of scans, tasks."""

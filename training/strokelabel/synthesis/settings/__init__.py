"""Groups of settings that `synthesis.config` is put together from, and what all groups have in common."""

"""One branch, scored."""

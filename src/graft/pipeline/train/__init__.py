"""One branch, trained."""

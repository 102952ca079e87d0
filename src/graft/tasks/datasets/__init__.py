"""Tasks whose rows are public datasets, one file each."""

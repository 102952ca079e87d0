"""From stored items to results, verdict and summary; it reads the run directory only."""

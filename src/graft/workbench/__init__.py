"""What is done beside a run."""

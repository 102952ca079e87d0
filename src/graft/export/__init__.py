"""What leaves the lab: merged models, adapters and GGUF files, each compared with the branch that was measured."""

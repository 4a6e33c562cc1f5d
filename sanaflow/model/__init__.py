"""The base model: where it is, how it is loaded, its attention's numerics."""

"""The looks of `python -m sanaflow doctor`, a module for each part of the machine. None tells a secret."""

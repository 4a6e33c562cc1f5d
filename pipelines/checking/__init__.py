"""The looks of `python -m sanaflow check`: each asks the very code that the run will ask."""

"""From weights to a release that others can load."""

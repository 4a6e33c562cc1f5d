"""What model versions come from, as records, in words and as a page."""

"""What runs: each file reads as a table of contents."""

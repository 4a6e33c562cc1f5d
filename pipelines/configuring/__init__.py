"""What `python -m sanaflow configure` asks, looks at and writes."""

"""Draw with a model and score what it draws."""

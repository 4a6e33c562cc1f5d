"""Reads SimpleTuner's configuration."""

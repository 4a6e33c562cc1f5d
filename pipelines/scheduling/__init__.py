"""Schedules of stacks whose orchestrator has none, and of those that have."""

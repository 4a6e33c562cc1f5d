"""From the plan to tensors on disk."""

"""Train Sana's transformer from the caches alone."""

"""From the table to a plan: pure arithmetic, no pixels."""

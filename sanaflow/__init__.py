"""Fine-tune NVIDIA's Sana: from files to a table, a plan, caches, weights, scores and a release. Never imports zenml."""

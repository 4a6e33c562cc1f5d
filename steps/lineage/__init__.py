"""Read what ZenML and the artifacts know of model versions."""

"""One artifact type a file: how it is stored, fingerprinted and drawn on the dashboard."""

"""From files to a table of pictures and captions."""

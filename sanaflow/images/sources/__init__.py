"""Where pictures are: a folder, S3, a hub repository, a table of urls. Each lists what is there and fetches a file."""

"""Where pairs come from: files, BEIR folders, the model hub, docstrings of installed packages."""

"""Sources of pairs: files, BEIR folders, the Hugging Face hub, docstrings of installed packages."""

"""One file per architecture; the file's stem is its name in a recipe."""

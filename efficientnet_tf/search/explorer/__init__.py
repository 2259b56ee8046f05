"""The explorer, one HTML page; others use `explorer.write`."""

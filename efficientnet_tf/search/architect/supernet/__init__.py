"""Weight sharing: one network, of which all of a space are slices."""

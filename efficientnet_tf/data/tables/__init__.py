"""Tables of images and labels: `csv:FILE`, and which images belong together."""

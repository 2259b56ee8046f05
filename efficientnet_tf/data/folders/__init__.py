"""What a folder of images says: its files, splits, classes and layout."""

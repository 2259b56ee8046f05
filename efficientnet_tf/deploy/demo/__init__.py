"""A page that runs a classifier in the browser, as a folder of static files."""

"""What a run says of each image, and how well: files, calibration, errors."""

"""Images in archives: TFRecords, TensorFlow Datasets, Hugging Face."""

"""Fine-tuning EfficientNet on the paper's transfer sets and on your own."""

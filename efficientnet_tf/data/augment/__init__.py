"""Random changes of training images: policies, their operations, mixtures."""

"""Trained classifiers in other formats than Keras's, each checked after export.

Others use `saved_model.export_saved_model`.
"""

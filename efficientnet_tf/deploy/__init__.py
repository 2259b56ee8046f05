"""Trained classifiers for use elsewhere, each checked after export.

Others use `saved_model.export_saved_model` and `keras_file.export_keras`.
"""

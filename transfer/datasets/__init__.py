"""The paper's data sets, from their publishers' archives to TFDS sets.

Others use `prepare.prepare`.
"""

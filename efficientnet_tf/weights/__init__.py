"""What weights exist, and how they get into a network.

Others use `loading.build` and `loading.save`, `catalog` for the published
weights, `former_names.load_network` for saved models, and `applications` for
the constructors of keras.applications.
"""

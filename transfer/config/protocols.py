"""What published protocols leave to a search, and which are the paper's."""

# The paper's own protocols, §5.3 of https://arxiv.org/abs/1905.11946.
PAPER_RECIPES = ("kornblith", "gpipe")
# What a recipe leaves to a search: other values are no change to the recipe.
CHOSEN = {"kornblith": ("learning_rate", "weight_decay")}


def kornblith_grid() -> list[tuple[float, float]]:
    """Returns the (learning rate, weight decay) pairs to choose from.

    Seven rates from 1e-4 to 1e-1, each with no decay and with seven decays from
    1e-6 to 1e-3 divided by the rate.
    """
    rates = [10 ** (-4 + i / 2) for i in range(7)]
    decays = [0.0, *(10 ** (-6 + i / 2) for i in range(7))]
    return [(rate, decay / rate) for rate in rates for decay in decays]

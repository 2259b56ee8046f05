"""The commands of `efficientnet`, a module each; `main` lists and runs them."""

"""From a recipe to everything that all branches share."""

"""The recipes, by the name that stands in their address."""

RECIPES = {
    "pancakes": {"title": "Pancakes", "minutes": 20, "needs": ["flour", "milk", "eggs"]},
    "ratatouille": {"title": "Ratatouille", "minutes": 70, "needs": ["aubergine", "peppers"]},
    "tea": {"title": "Mint tea", "minutes": 5, "needs": ["mint", "honey"]},
}

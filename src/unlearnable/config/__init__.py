"""How parameters become paths, recipes and checks."""

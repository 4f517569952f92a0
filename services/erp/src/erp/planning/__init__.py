"""Net requirements: demands, the stock and supply that cover them, and production plans for the rest."""

"""How a model gets here: archives, where they come from, and what they need installed."""

"""Checks of answers that share no code with what found them."""

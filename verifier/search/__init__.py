"""Branch and bound: splits what bounds leave undecided."""

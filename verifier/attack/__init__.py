"""The search for counterexamples. Whatever it finds is checked on the model's file before it is believed."""

from verifier.attack.corners import Corners
from verifier.attack.lp import Lp
from verifier.attack.objective import Attack, Objective
from verifier.attack.pgd import Pgd
from verifier.attack.witness import Checker

__all__ = ["Attack", "Checker", "Corners", "Lp", "Objective", "Pgd"]

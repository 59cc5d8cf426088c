"""Global Lipschitz bounds by semidefinite programs: solved by their structure, re-proved in spite of rounding."""

from verifier.lipschitz.sdp.bound import bound
from verifier.lipschitz.sdp.constraints.groupsort import GroupSort
from verifier.lipschitz.sdp.constraints.householder import Householder
from verifier.lipschitz.sdp.constraints.slopes import Slopes
from verifier.lipschitz.sdp.feed import feedforward
from verifier.lipschitz.sdp.models import implicit, residual
from verifier.lipschitz.sdp.result import SdpResult

__all__ = ["GroupSort", "Householder", "SdpResult", "Slopes", "bound", "feedforward", "implicit", "residual"]

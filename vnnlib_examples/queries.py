"""The examples of VNNLIB 2.0: several networks and tensors, polynomials, strict conditions. make.py settles them."""

from collections.abc import Sequence

from conditions import Condition, Declared, Query, Tensor
from properties import Box
from referees import by_boxes, by_rectifier, by_rest, by_slope


def pendulum(name: str = "f", net: str = "pendulum", x: str = "X", y: str = "Y", relation: str = "") -> Declared:
    """The controller: angle and angular velocity to torque."""
    return Declared(name, net, (Tensor(x, "input", (1, 2)), Tensor(y, "output", (1, 1))), relation)


def is_(operator: str, bound: float, *terms: "tuple[float, tuple[str, ...]] | str") -> Condition:
    """A condition; an element alone stands for itself."""
    return Condition(tuple((1.0, (term,)) if isinstance(term, str) else term for term in terms), operator, bound)


def queries() -> Sequence[Query]:
    """All of them, in the order of expected.csv."""
    angle, velocity, torque = "X[0,0]", "X[0,1]", "Y[0,0]"
    all_states = Box.of((-1, 1), (-1, 1))
    parts = Declared(
        "f",
        "advisory_parts",
        (Tensor("P", "input", (1, 2)), Tensor("V", "input", (1, 1)), Tensor("C", "output", (1, 5))),
    )
    step = Declared("f", "pendulum_step", (Tensor("X", "input", (1, 2)), Tensor("Y", "output", (1, 2))))
    hidden = Declared(
        "f",
        "pendulum",
        (Tensor("X", "input", (1, 2)), Tensor("H", "hidden", (1, 16), "relu_1"), Tensor("Y", "output", (1, 1))),
    )
    scalar = Declared("f", "pendulum_scalar", (Tensor("X", "input", (1, 2)), Tensor("Y", "output", ())))
    pair = (pendulum(x="X_f", y="Y_f"), pendulum("g", x="X_g", y="Y_g", relation="equal-to f"))
    coarse = (
        pendulum(x="X_f", y="Y_f"),
        pendulum("g", "pendulum_rounded", x="X_g", y="Y_g", relation="isomorphic-to f"),
    )
    same = tuple((f"X_f[0,{k}]", f"X_g[0,{k}]") for k in range(2))
    none_best = tuple(is_("<=", 0.0, "C[0,0]", (-1.0, (f"C[0,{k}]",))) for k in range(1, 5))
    near = Box.of((-1, -0.6), (-1, 1), (0.3, 1))
    small, right = Box.of(*[(-0.15, 0.15)] * 4), Box.of((0.3, 1), (0.1, 1))
    return [
        Query("two_inputs", "When the intruder is near and closing, `none` is not the best manoeuvre.", (parts,), near,
              none_best, by_boxes),
        Query("strict", "The thrust is never negative.", (pendulum(net="pendulum_thrust"),), all_states,
              (is_("<", 0.0, torque),), by_rectifier),
        Query("not_equal", "Leaning right and falling, there is no thrust at all.", (pendulum(net="pendulum_thrust"),),
              right, (is_("!=", 0.0, torque),), by_rest),
        Query("linear_input", "On one side of a line through the states, the torque is below -0.8.", (pendulum(),),
              all_states, (is_(">=", 1.2, (2.5, (angle,)), (1.2, (velocity,))), is_(">=", -0.8, torque)), by_boxes),
        Query("product_of_outputs", "The next angle and velocity have a product above -0.1.", (step,),
              Box.of((-0.5, 0.5), (-0.5, 0.5)), (is_("<=", -0.1, (1.0, ("Y[0,0]", "Y[0,1]"))),), by_boxes),
        Query("product_of_inputs", "Where angle and velocity have a product from 0.3 on, the torque is not small.",
              (pendulum(),), all_states,
              (is_(">=", 0.3, (1.0, (angle, velocity))), is_("<=", 0.9, torque), is_(">=", -0.9, torque)), by_boxes),
        Query("monotonic", "Near the top, a larger angle with the same velocity never means a larger torque.", pair,
              small, (is_("<=", 0.0, "X_f[0,0]", (-1.0, ("X_g[0,0]",))),
                      is_("<", 0.0, "Y_f[0,0]", (-1.0, ("Y_g[0,0]",)))), by_slope, same[1:]),
        Query("isomorphic", "With coarse weights, the torque is nowhere more than 0.2 higher.", coarse,
              Box.of(*[(-1, 1)] * 4), (is_(">", 0.2, "Y_g[0,0]", (-1.0, ("Y_f[0,0]",))),), by_boxes, same),
        Query("hidden", "Where the first neuron rests, the torque is not above 0.5.", (hidden,), all_states,
              (is_("<=", 0.1, "H[0,0]"), is_(">=", 0.5, torque)), by_boxes),
        Query("scalar", "The torque stays below 0.97, for every state.", (scalar,), all_states,
              (is_(">=", 0.97, "Y"),), by_boxes),
    ]  # fmt: skip

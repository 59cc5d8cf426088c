"""The VNNLIB 1.0 parser: its meaning, its errors with their places, and its speed."""

import itertools
import operator
import random
import re
import time

import numpy as np
import pytest

import specs.dnf
from specs import Case, Spec, SpecError, parse

HEAD = """(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
"""
BOX = "(assert (<= -1 X_0 1))(assert (<= -1 X_1 1))\n"


def only(spec: Spec) -> Case:
    (case,) = spec.cases
    return case


def test_box_and_rows() -> None:
    case = only(parse(HEAD + BOX + "(assert (>= Y_0 0.1)) (assert (<= Y_1 Y_0))"))
    assert (case.inputs.lower.tolist(), case.inputs.upper.tolist()) == ([-1, -1], [1, 1])
    assert case.rows.x is None
    assert case.rows.y.tolist() == [[-1, 0], [-1, 1]]
    assert case.rows.bound.tolist() == [-0.1, 0]
    assert not case.rows.strict.any()


def test_spacing_comments_exponents_and_ignored_commands() -> None:
    text = """; (assert (<= X_0 -7))
    (set-logic QF_LRA)(set-info :source |a (b) c|)
    ( declare-fun X_0 ( ) Real ) ; (
    (declare-const Y_0 Real)(assert(<= X_0 1.5e-3))( assert ( >=
      X_0 ; comment
      -.5E+1 ) ) (check-sat)"""
    case = only(parse(text))
    assert (case.inputs.lower.item(), case.inputs.upper.item()) == (-5, 0.0015)
    assert len(case.rows) == 0


def test_the_tightest_bound_counts_and_a_dimension_may_be_a_point() -> None:
    case = only(parse(HEAD + BOX + "(assert (= X_0 0.3)) (assert (and (<= X_1 0.5) (<= 0.25 X_1) (<= X_1 7)))"))
    assert (case.inputs.lower.tolist(), case.inputs.upper.tolist()) == ([0.3, 0.25], [0.3, 0.5])


def test_cases_with_one_box_share_it() -> None:
    spec = parse(HEAD + BOX + "(assert (or (<= Y_0 0) (and (<= X_0 0) (<= Y_0 1)) (and (<= X_0 5) (<= Y_1 1))))")
    assert [case.inputs.upper[0] for case in spec.cases] == [1, 0, 1]
    assert spec.cases[0].inputs is spec.cases[2].inputs


def test_without_assertions_on_outputs_any_input_is_unsafe() -> None:
    assert parse(HEAD + BOX).violated_by([0, 0], [0, 0]) == 0
    assert parse("(check-sat)").violated_by([], []) == 0


def test_equal_cases_are_merged() -> None:
    assert len(parse(HEAD + BOX + "(assert (or (<= Y_0 0) (<= Y_1 0) (<= Y_0 0)))").cases) == 2


def test_empty_cases_are_left_out() -> None:
    spec = parse(HEAD + BOX + "(assert (or (and (>= X_0 2) (<= Y_0 0)) (and (<= X_0 0) (>= X_0 1)) (<= Y_1 0)))")
    assert only(spec).rows.y.tolist() == [[0, 1]]


def test_inputs_in_rows() -> None:
    case = only(parse(HEAD + BOX + "(assert (<= (+ X_0 (* 2 Y_0) 1) (- X_1 (* Y_1 3) 4)))"))
    assert case.rows.x is not None
    assert (case.rows.x.tolist(), case.rows.y.tolist(), case.rows.bound.tolist()) == ([[1, -1]], [[2, 3]], [-5])


def test_a_strict_input_bound_closes_the_box_and_stays_a_row() -> None:
    spec = parse(HEAD + BOX + "(assert (< X_0 0.5))")
    assert only(spec).inputs.upper[0] == 0.5
    assert spec.violated_by([0.5, 0], [0, 0]) is None
    assert spec.violated_by([0.25, 0], [0, 0]) == 0


def test_a_scaled_input_bound_is_rounded_outwards_and_stays_a_row() -> None:
    case = only(parse(HEAD + BOX + "(assert (<= (* 3 X_0) 1))"))
    assert case.inputs.upper[0] == np.nextafter(1 / 3, 1)
    assert case.rows.x is not None
    assert case.rows.x.tolist() == [[3, 0]]


@pytest.mark.parametrize(
    "formula, at, unsafe",
    [
        ("(not (and (<= Y_0 0) (>= Y_1 0)))", (0, 0), False),
        ("(not (or (<= Y_0 0) (>= Y_1 0)))", (1, -1), True),
        ("(=> (<= Y_0 0) (<= Y_1 0))", (0, 1), False),
        ("(=> (<= Y_0 0) (<= Y_1 0))", (1, 1), True),
        ("(not (=> (<= Y_0 0) (<= Y_1 0)))", (0, 1), True),
        ("(!= Y_0 Y_1)", (1, 1), False),
        ("(not (= Y_0 Y_1))", (1, 2), True),
        ("(not (<= 0 Y_0 Y_1))", (1, 0), True),
        ("(or false (and true (== Y_0 (- Y_1))))", (2, -2), True),
        ("(<= 1 1)", (9, 9), True),
        ("(<= (- Y_0 Y_0) 0)", (9, 9), True),
    ],
)
def test_connectives(formula: str, at: tuple[int, int], unsafe: bool) -> None:
    assert (parse(f"{HEAD}{BOX}(assert {formula})").violated_by([0, 0], at) is not None) is unsafe


# An independent reading of formulas, by recursion on nested tuples of integers: no rounding, so every case must agree.

COMPARE = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "=": operator.eq,
    "!=": operator.ne,
}
NAMES = ("X_0", "X_1", "Y_0", "Y_1")


def random_term(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(5) if depth else rng.randrange(2)
    if kind == 0:
        return rng.randint(-2, 2)
    if kind == 1:
        return rng.choice(NAMES)
    if kind == 2:
        factors = [rng.randint(-2, 2), random_term(rng, depth - 1)]
        return ("*", *rng.sample(factors, 2))
    return (rng.choice("+-"), *(random_term(rng, depth - 1) for _ in range(rng.randint(1, 3))))


def random_formula(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(6) if depth else 0
    if kind == 0:
        sides = (rng.choice(NAMES), rng.randint(-2, 2)) if rng.random() < 0.5 else [random_term(rng, 2) for _ in "ab"]
        return (rng.choice(list(COMPARE)), *rng.sample(list(sides), 2))
    if kind == 1:
        return ("not", random_formula(rng, depth - 1))
    if kind == 2:
        return ("=>", random_formula(rng, depth - 1), random_formula(rng, depth - 1))
    return (rng.choice(("and", "or")), *(random_formula(rng, depth - 1) for _ in range(rng.randint(1, 3))))


def evaluate(tree: object, point: dict[str, int]) -> int:
    if isinstance(tree, str):
        return point[tree]
    if isinstance(tree, int):
        return tree
    assert isinstance(tree, tuple)
    symbol, *operands = tree
    values = [evaluate(operand, point) for operand in operands]
    if symbol in COMPARE:
        return COMPARE[symbol](*values)
    fold = {"and": min, "or": max, "+": sum, "*": np.prod}
    if symbol in fold:
        return int(fold[symbol](values))
    if symbol == "-":
        return values[0] - sum(values[1:]) if len(values) > 1 else -values[0]
    return int(not values[0]) if symbol == "not" else int(not values[0] or bool(values[1]))


def written(tree: object) -> str:
    return f"({' '.join(map(written, tree))})" if isinstance(tree, tuple) else str(tree)


@pytest.mark.parametrize("seed", range(150))
def test_the_cases_mean_the_formula(seed: int) -> None:
    rng = random.Random(seed)
    trees = [random_formula(rng, rng.randint(0, 4)) for _ in range(rng.randint(1, 3))]
    box = "(assert (<= -2 X_0 2))(assert (<= -2 X_1 2))"
    grid = rng.sample(list(itertools.product(range(-2, 3), repeat=4)), 150)
    points = [dict(zip(NAMES, values, strict=True)) for values in grid]
    truth = [all(evaluate(tree, point) for tree in trees) for point in points]
    try:
        spec = parse(HEAD + box + "".join(f"(assert {written(tree)})" for tree in trees))
    except SpecError as error:
        assert "empty box" in error.message or "contradict" in error.message
        assert not any(truth)
        return
    found = [spec.violated_by([p["X_0"], p["X_1"]], [p["Y_0"], p["Y_1"]]) is not None for p in points]
    assert found == truth


ERRORS = [
    ("", "1:1", "empty"),
    (" ; nothing\n", "1:1", "empty"),
    (HEAD + BOX + "(assert (<= Y_0 Y_7))", "6:17", "unknown variable Y_7 (Y_0..Y_1 are declared)"),
    (HEAD + BOX + "(assert (<= X_9 0))", "6:13", "unknown variable X_9 (X_0..X_1 are declared)"),
    (HEAD + BOX + "(assert (<= Z 0))", "6:13", "unknown variable Z (X_0..X_1 are declared and Y_0..Y_1 are declared)"),
    ("(assert (<= X_0 0))", "1:13", "no X_i is declared"),
    (HEAD + "(declare-const X_1 Real)", "5:16", "X_1 is declared twice"),
    (HEAD + "(declare-const X_3 Real)", "5:16", "X_3 is declared, X_2 is not"),
    (HEAD + "(declare-const Z_3 Real)", "5:16", "cannot declare Z_3"),
    (HEAD + "(declare-const X_02 Real)", "5:16", "cannot declare X_02"),
    (HEAD + "(declare-const X_2 Int)", "5:20", "expected Real, found Int"),
    (HEAD + "(declare-fun X_2 (Real) Real)", "5:19", "expected ), found Real"),
    (HEAD + BOX + "(assert (<= Y_0 nan))", "6:17", "nan is not a finite number"),
    (HEAD + BOX + "(assert (<= Y_0 -inf))", "6:17", "-inf is not a finite number"),
    (HEAD + BOX + "(assert (<= X_0 1e999))", "6:17", "1e999 is not a finite number"),
    (HEAD + BOX + "(assert (<= X_0 1.2.3))", "6:17", "1.2.3 is not a finite number"),
    (HEAD + BOX + "(assert (<= X_0 1_000))", "6:17", "1_000 is not a finite number"),
    (HEAD + BOX + "(assert (<= X_0 (* 1e300 1e300)))", "6:9", "beyond the range of float64"),
    (HEAD + BOX + "(assert (<= (* X_0 Y_0) 1))", "6:13", "product of two variables"),
    (HEAD + BOX + "(assert (<= Y_0))", "6:9", "<= has 1 operands, not at least 2"),
    (HEAD + BOX + "(assert (not true false))", "6:9", "not has 2 operands, not 1"),
    (HEAD + BOX + "(assert (and))", "6:9", "and has 0 operands, not at least 1"),
    (HEAD + BOX + "(assert (and Y_0 true))", "6:9", "expected a formula, found a term"),
    (HEAD + BOX + "(assert Y_0)", "6:9", "expected a formula, found a term"),
    (HEAD + BOX + "(assert (<= Y_0 (<= Y_1 0)))", "6:9", "<= takes terms, not formulas"),
    (HEAD + BOX + "(assert (xor true false))", "6:10", "unknown operator xor"),
    (HEAD + BOX + "(assert)", "6:8", "expected a formula, found )"),
    (HEAD + BOX + "(assert true", "6:1", "never closed"),
    (HEAD + BOX + "(assert (and true", "6:9", "never closed"),
    (HEAD + BOX + "(assert (", "6:9", "never closed"),
    (HEAD + BOX + "(assert true))", "6:14", "expected ( before )"),
    (HEAD + BOX + "(assert true false)", "6:14", "expected ), found false"),
    (HEAD + BOX + "(check-sat", "6:1", "never closed"),
    (HEAD + BOX + 'assert "', "6:1", "expected ( before assert"),
    (HEAD + BOX + '(set-info "', "6:11", "string is never closed"),
    (HEAD + BOX + "(push 1)", "6:2", "unknown command push"),
    (HEAD + "(assert (<= 0 X_0 1))(assert (<= X_1 1))", "2:16", "X_1 has no lower bound"),
    (
        HEAD + "(assert (or (<= 0 X_0 1) (<= 0 X_0)))(assert (<= 0 X_1 1))",
        "1:16",
        "X_0 has no upper bound in case 2 of 2",
    ),
    (HEAD + BOX + "(assert\n (>= X_1 1.5))", "7:2", "empty box: X_1 has lower bound 1.5 > upper bound 1"),
    (HEAD + BOX + "(assert ( <= X_1 -2))", "6:9", "empty box: X_1 has lower bound -1 > upper bound -2"),
    (HEAD + BOX + "(assert (or (>= X_0 3) (<= X_0 -3)))", "6:13", "empty box: X_0 has lower bound 3 > upper bound 1"),
    (HEAD + BOX + "(assert (or (<= 1 X_0 0) false))", "6:13", "empty box: X_0 has lower bound 1 > upper bound 0"),
    (HEAD + BOX + "(assert (<= 2 1))", "6:2", "the assertions contradict each other"),
    (HEAD + BOX + "(vnnlib-version <2.0>)", "6:2", "unknown command vnnlib-version"),
]


@pytest.mark.parametrize("text, place, message", ERRORS)
def test_errors_name_their_place(text: str, place: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "prop.vnnlib")
    error = caught.value
    assert str(error).startswith(f"prop.vnnlib:{place}: ")
    assert message in str(error)
    assert "\n" not in str(error)
    assert (error.name, f"{error.line}:{error.column}") == ("prop.vnnlib", place)


@pytest.mark.parametrize("opening", ["(and ", "(or false ", "(not ", "(=> true "])
def test_deep_formulas(opening: str) -> None:
    text = f"{opening * 10_000}(<= Y_0 0){')' * 10_000}"
    assert len(only(parse(f"{HEAD}{BOX}(assert {text})")).rows) == 1


def test_deep_terms() -> None:
    case = only(parse(f"{HEAD}{BOX}(assert (<= {'(+ 1 ' * 10_000}Y_0{')' * 10_000} 0))"))
    assert case.rows.bound.tolist() == [-10_000]


def test_deep_brackets_without_end() -> None:
    with pytest.raises(SpecError, match="never closed"):
        parse(HEAD + "(assert " + "(and " * 10_000)


def test_too_many_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs.dnf, "MAX_CONJUNCTS", 1000)
    clauses = "".join(f"(assert (or (<= Y_0 {i}) (<= Y_1 {i})))" for i in range(40))
    with pytest.raises(SpecError, match="more than 1000 cases"):
        parse(HEAD + BOX + clauses)


def test_deep_alternation_is_refused_in_time() -> None:
    text = "(and (<= Y_0 1) (or (<= Y_1 2) " * 5_000 + "true" + "))" * 5_000
    with pytest.raises(SpecError, match="more than 100000000 steps"):
        parse(f"{HEAD}{BOX}(assert {text})")


def test_disjoint_boxes_do_not_multiply() -> None:
    pieces = "".join(f"(and (< {k / 500} X_0 {(k + 1) / 500}) (<= Y_0 {k}))" for k in range(500))
    spec = parse(HEAD + BOX + f"(assert (or {pieces}))" + f"(assert (or {pieces.replace('Y_0', 'Y_1')}))")
    assert len(spec.cases) < 1_500


def large_text(n: int) -> str:
    declared = "".join(f"(declare-const X_{i} Real)\n" for i in range(n))
    bounds = "".join(f"(assert (<= X_{i} 0.5{i}))\n(assert (>= X_{i} -0.25{i}))\n" for i in range(n))
    return f"{declared}(declare-const Y_0 Real)\n{bounds}(assert (<= Y_0 0))\n"


def test_150_000_inputs_take_less_than_three_seconds() -> None:
    text = large_text(150_000)
    begin = time.perf_counter()
    spec = parse(text)
    assert time.perf_counter() - begin < 3
    assert only(spec).inputs.upper[123_456] == 0.5123456


def test_an_error_late_in_a_large_file_has_its_line() -> None:
    with pytest.raises(SpecError) as caught:
        parse(large_text(20_000) + "(assert (>= X_777 0.9))")
    assert (caught.value.line, caught.value.column) == (60_003, 9)


def test_ten_thousand_regions() -> None:
    pieces = "".join(f"(and (<= X_0 {k + 1}) (>= X_0 {k}) (>= Y_0 {k}))\n" for k in range(10_000))
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)"
    begin = time.perf_counter()
    spec = parse(f"{text}(assert (or {pieces}))")
    assert time.perf_counter() - begin < 3
    assert len(spec.cases) == 10_000
    assert spec.cases[7_000].inputs.lower.tolist() == [7_000]


def test_simple_file_as_another_regular_expression_reads_it() -> None:
    text = large_text(300)
    bounds = re.findall(r"assert \((.=) X_(\d+) (\S+)\)\)", text)
    case = only(parse(text))
    upper = {int(i): float(value) for sign, i, value in bounds if sign == "<="}
    lower = {int(i): float(value) for sign, i, value in bounds if sign == ">="}
    assert case.inputs.upper.tolist() == [upper[i] for i in range(300)]
    assert case.inputs.lower.tolist() == [lower[i] for i in range(300)]

"""What is a query of VNNLIB 2.0 and what is not, beside the standard's own reader."""

import time

import pytest

from specs import SpecError
from specs.vnnlib2 import parse

HEAD = "(vnnlib-version <2.0>)\n"
F = "(declare-network f (declare-input X float32 [2]) (declare-output Y float32 [2]))\n"
BOX = "(assert (and (>= X[0] 0.0) (<= X[0] 1.0) (>= X[1] 0.0) (<= X[1] 1.0)))\n"
BOX_U = BOX + BOX.replace("X", "U")


def network(
    body: str = "(declare-input U float32 [2]) (declare-output V float32 [2])", name: str = "g", relation: str = ""
) -> str:
    """F, and another network behind it."""
    return f"{HEAD}{F}(declare-network {name} {relation}{body})\n{BOX_U}"


def asserting(formula: str) -> str:
    return f"{HEAD}{F}{BOX}(assert {formula})\n"


def declaring(body: str) -> str:
    """One network with a hidden tensor, or with something else between its input and its output."""
    return f"{HEAD}(declare-network f (declare-input X float32 [2]) {body} (declare-output Y float32 [2]))\n{BOX}"


def outputs(kind: str, formula: str) -> str:
    return (
        f"{HEAD}(declare-network f (declare-input X float32 [2]) (declare-output Y {kind}))\n{BOX}(assert {formula})\n"
    )


THIRD = "(declare-network h (equal-to {}) (declare-input A float32 [2]) (declare-output C float32 [2]))\n"
BOX_A = BOX.replace("X", "A")
SAME = "(declare-input U float32 [2]) (declare-output V float32 [2])"

FORMULAS = [
    "(and (<= Y[0] 1.0))", "(or (<= Y[0] 1.0))", "(or (and (<= Y[0] 1.0) (or (< Y[1] 0.0))) (> Y[0] Y[1]))",
    "(== Y[0] 1.0)", "(!= Y[0] 1.0)", "(<= Y[0] 007.50)", "(<= Y[0] -0.0)", "(<= (- Y[0]) 5.0)", "(<= (- 5.0) Y[0])",
    "(<= (- Y[0] Y[1] 1.0) 5.0)", "(<= (+ Y[0]) 5.0)", "(<= (+ Y[0] Y[1] 1.0) 5.0)", "(<= (* Y[0]) 5.0)",
    "(<= (* Y[0] Y[1] X[0]) 5.0)", "(<= 1.0 2.0)", "(<= 1 2)", "(<= Y [0] 1.0)", "(<= Y[ 0 ] 1.0)",
    "(<= Y[0] 0.1234567890123456789012345678901234567890)", "(and ; a comment (\n (<= Y[0] 1.0))",
]  # fmt: skip
ACCEPTED = [
    *map(asserting, FORMULAS),
    HEAD + F + BOX,
    HEAD.replace("2.0", "2.1") + F + BOX,
    network(),
    network(relation="(equal-to f) "),
    network(relation="(isomorphic-to f) "),
    network(relation="(equal-to f) ", body='(declare-input U float32 [2]) (declare-hidden K float32 [3] "k") '
            "(declare-output V float32 [2])"),
    network(relation="(equal-to f) ").replace("(assert", THIRD.format("f") + "(assert", 1) + BOX_A,
    network(name="g1_"),
    network("(declare-input U float32 [2]) (declare-output V float32 [])"),
    declaring('(declare-hidden H float32 [1,2] "a/b:0")'),
    outputs("float32 []", "(<= Y 3.0)"),
    *(network(f"(declare-input U {kind} [2]) (declare-output V {kind} [2])")
      for kind in ("real", "float16", "float64", "bfloat16", "float8e4m3fn", "float8e5m2", "float4e2m1")),
    *(network(f"(declare-input U float32 [2]) (declare-output V {kind} [2])")
      for kind in ("int8", "uint64", "bool", "string", "complex64")),
]  # fmt: skip

REFUSED: dict[str, str] = {
    F + BOX: ":1:2: expected vnnlib-version",
    HEAD + HEAD + F + BOX: ":2:2: ",
    HEAD.replace("<2.0>", "2.0") + F + BOX: ":1:17: ",
    HEAD + "(assert (<= 1.0 2.0))": ":2:2: a network",
    HEAD + F: "nothing is asserted",
    HEAD + F + BOX + F.replace("X", "U"): ":4:2: networks",
    HEAD + F.replace("Y", "X") + BOX: "X is declared twice",
    network("(declare-input U float32 [2])"): "no output",
    network("(declare-output V float32 [2])"): "no input",
    network("(declare-output V float32 [2]) (declare-input U float32 [2])"): "first",
    network('(declare-input U float32 [2]) (declare-output V float32 [2]) (declare-hidden H float32 [2] "a")'): "first",
    declaring("(declare-hidden H float32 [2])"): "quotes",
    declaring("(declare-hidden H float32 [2] a)"): "quotes",
    declaring('(declare-hidden H float32 [2] "a)'): "",
    network('(declare-input U float32 [2] "a") (declare-output V float32 [2])'): "expected )",
    network("(declare-input U float32 [2] initialized) (declare-output V float32 [2])"): "expected )",
    network("(declare-input U float32) (declare-output V float32 [2])"): ":3:44: expected a shape",
    network("(declare-input U [2]) (declare-output V float32 [2])"): "unknown type",
    network("(declare-input U float32 [0]) (declare-output V float32 [2])"): "positive",
    network("(declare-input U float32 [-2]) (declare-output V float32 [2])"): "whole number",
    network("(declare-input U float32 [2,]) (declare-output V float32 [2])"): "whole number",
    network(SAME, relation="(equal-to g) "): "declared before",
    network(SAME, relation="(equal-to h) "): "declared before",
    network(SAME.replace("[2]", "[1,2]"), relation="(equal-to f) "): "their inputs differ",
    network(SAME.replace("32", "64"), relation="(equal-to f) "): "their inputs differ",
    network(SAME.replace("32", "64"), relation="(isomorphic-to f) "): "their inputs differ",
    network("(declare-input W float32 [2]) " + SAME, relation="(equal-to f) "): "their inputs differ",
    network(relation="(equal-to f) ").replace("(assert", THIRD.format("g") + "(assert", 1): "itself related",
    network(relation="(isomorphic-to f) ").replace("(assert", THIRD.format("g") + "(assert", 1): "itself related",
    network(name="_g"): "no name",
    network(name="g-1"): "no name",
    asserting("(and)"): "operands",
    asserting("(or)"): "operands",
    asserting("(not (<= Y[0] 1.0))"): ":4:10: unknown operator not",
    asserting("(=> (<= Y[0] 1.0) (<= Y[1] 1.0))"): "unknown operator =>",
    asserting("(= Y[0] 1.0)"): "unknown operator =",
    asserting("(/ Y[0] 1.0)"): "unknown operator /",
    asserting("(<= 0.0 Y[0] 1.0)"): "3 operands",
    asserting("(<= Y[0])"): "1 operands",
    asserting("(== (<= Y[0] 1.0) (<= Y[1] 1.0))"): "terms, not formulas",
    asserting("Y[0]"): "expected a formula",
    asserting("1.0"): "expected a formula",
    asserting("(<= Y[0] 1)"): "write 1.0",
    asserting("(<= Y[0] -1)"): "write 1.0",
    asserting("(<= (* 2 Y[0]) 1.0)"): "write 1.0",
    asserting("(<= 1 2.0)"): "one type",
    asserting("(<= (+ 1 2.0) Y[0])"): "one type",
    asserting("(<= Y[0] 1e-5)"): ":4:18: 1e-5 is not a number",
    asserting("(<= Y[0] 1.0e5)"): "not a number",
    asserting("(<= Y[0] .5)"): "not a number",
    asserting("(<= Y[0] 5.)"): "not a number",
    asserting("(<= Y[0] +5.0)"): "not a number",
    asserting(f"(<= Y[0] {'9' * 400}.0)"): "beyond the range",
    asserting("(<= (+) 5.0)"): "operands",
    asserting("(<= (-) 5.0)"): "operands",
    asserting("(<= (*) 5.0)"): "operands",
    asserting("(<= Y 1.0)"): "no element []",
    asserting("(<= Y[0,0] 1.0)"): "no element [0, 0]",
    asserting("(<= Y[2] 1.0)"): ":4:13: Y has shape [2], which has no element [2]",
    asserting("(<= Y[] 1.0)"): "no element []",
    asserting("(<= Y[X] 1.0)"): "whole number",
    asserting("(<= Z[0] 1.0)"): "unknown variable Z (declared: X, Y)",
    asserting("(<= f 1.0)"): "unknown variable f",
    asserting("(<= Y[0] 1.0) (<= Y[1] 1.0)"): "expected )",
    asserting("(<= Y[0] 1.0").rstrip()[:-1]: "never closed",
    outputs("float32 []", "(<= Y[0] 3.0)"): "scalar",
    outputs("float32 []", "(<= Y[] 3.0)"): "scalar",
    outputs("float64 [2]", "(<= X[0] Y[0])"): "not float32 and float64",
    outputs("real [2]", "(<= X[0] Y[0])"): "not float32 and real",
    outputs("int32 [2]", "(<= Y[0] 3.0)"): "int32",
    HEAD + F + BOX + ")": ":4:1: ",
    HEAD + F + BOX + "word": ":4:1: ",
    HEAD + F + BOX + "(Assert (<= Y[0] 1.0))": "unknown command Assert",
    HEAD + "(declare-const X_0 Real)": "unknown command declare-const",
}

# Where the two readers differ: text -> (ours, why)
DIFFERENT: dict[str, tuple[bool, str]] = {
    HEAD + F + F.replace("X", "U").replace("Y", "V") + BOX_U: (False, "two networks of one name cannot be told apart"),
    network(SAME, relation="(equal-to f) (isomorphic-to f) "): (False, "the grammar has one relation at most"),
    HEAD + F.replace("Y", "f") + BOX: (False, "names are unique in a query"),
    network(name="and"): (True, "a word of the language may be a name: nothing becomes ambiguous"),
    asserting("(<= Y[-1] 1.0)"): (False, "an index is a whole number; theirs takes -1 for an element"),
    asserting("(<=Y[0] 1.0)"): (False, "an operator and a name are two words"),
    HEAD + F + BOX + "( assert (<= Y[0] 1.0))": (True, "blanks may stand behind any bracket"),
    network("(declare-input U float32 [2]) (declare-output V foo [2])"): (False, "no such type"),
    network("(declare-input U Real [2]) (declare-output V Real [2])"): (False, "types are written in lower case"),
    outputs("int32 [2]", "(<= Y[0] 3)"): (False, "conditions on whole numbers are not supported"),
    f"{HEAD}{F}(assert (<= Y[0] 1.0))": (False, "inputs without bounds are not supported"),
    asserting("(<= Y[0] 3.0)").replace("float32", "float8"): (False, "no such type"),
}


def ours(text: str) -> bool:
    try:
        parse(text)
    except SpecError:
        return False
    return True


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text: str) -> None:
    parse(text)


@pytest.mark.parametrize("text", REFUSED)
def test_refused_with_a_place(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "q.vnnlib")
    assert caught.value.line is not None
    assert caught.value.column is not None
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_standards_reader_takes_the_same() -> None:
    standard = pytest.importorskip("tests.specs.standard")
    assert len(ACCEPTED) + len(REFUSED) > 100
    assert [text for text in ACCEPTED if not standard.accepts(text)] == []
    assert [text for text in REFUSED if standard.accepts(text)] == []


@pytest.mark.parametrize("text", DIFFERENT)
def test_where_the_readers_differ(text: str) -> None:
    standard = pytest.importorskip("tests.specs.standard")
    wanted, _why = DIFFERENT[text]
    assert (ours(text), standard.accepts(text)) == (wanted, not wanted)


def test_a_box_of_100_000_inputs_takes_less_than_two_seconds() -> None:
    count = 100_000
    head = f"{HEAD}(declare-network f (declare-input X float32 [1,{count}]) (declare-output Y float32 [2]))\n"
    bounds = "".join(f"(assert (>= X[0,{k}] -0.5))\n(assert (<= X[0,{k}] {k}.25))\n" for k in range(count))
    begun = time.process_time()
    (case,) = parse(head + bounds + "(assert (>= Y[1] 1.0))").cases
    assert time.process_time() - begun < 2
    assert case.inputs.upper.tolist() == [k + 0.25 for k in range(count)]
    assert (case.inputs.lower == -0.5).all()

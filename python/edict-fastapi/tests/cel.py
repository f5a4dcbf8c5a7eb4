"""A second opinion on filters: CEL as its specification has it, slow and row by row.

It shares no code with the package. A value of CEL is a value of Python: None, bool, float
(double), Int, str, datetime-free integers for instants and durations (Instant, Span), list.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class CELError(Exception):
    """The evaluation ends in an error."""


@dataclass(frozen=True, order=True)
class Int:
    n: int


@dataclass(frozen=True, order=True)
class Instant:
    ns: int


@dataclass(frozen=True, order=True)
class Span:
    ns: int


def holds(condition, attributes, resource_id="x"):
    """Whether a filter's condition holds of a row that has these attributes."""
    operator, operands = condition["expression"]["operator"], condition["expression"]["operands"]
    if operator == "and":
        return all(holds(o, attributes, resource_id) for o in operands)
    if operator == "or":
        return any(holds(o, attributes, resource_id) for o in operands)
    if operator == "not":
        return not holds(operands[0], attributes, resource_id)
    try:
        value = evaluate(operands[0], attributes, resource_id)
    except CELError:
        return operator == "errs"
    return operator == "holds" and value is True


def evaluate(operand, attributes, resource_id):
    def run(o):
        return evaluate(o, attributes, resource_id)

    def run_bool(o):
        value = run(o)
        if not isinstance(value, bool):
            raise CELError
        return value

    if "value" in operand:
        return constant(operand["value"])
    if "variable" in operand:
        return read(operand["variable"], attributes, resource_id)
    operator, operands = operand["expression"]["operator"], operand["expression"]["operands"]
    if operator == "has":
        try:
            read(operands[0]["variable"], attributes, resource_id)
        except CELError:
            return False
        return True
    if operator in ("and", "or"):
        failed = False
        for o in operands:
            try:
                if run_bool(o) is (operator == "or"):
                    return operator == "or"
            except CELError:
                failed = True
        if failed:
            raise CELError
        return operator == "and"
    if operator == "not":
        return not run_bool(operands[0])
    if operator == "if":
        return run(operands[1] if run_bool(operands[0]) else operands[2])
    if operator == "list":
        return [run(o) for o in operands]
    return FUNCTIONS[operator](*[run(o) for o in operands])


def constant(value):
    if isinstance(value, list):
        return [constant(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read(name, attributes, resource_id):
    if name == "request.resource.id":
        return resource_id
    out = attributes
    for key in name.removeprefix("request.resource.attr.").split("."):
        if not isinstance(out, dict) or key not in out:
            raise CELError
        out = out[key]
    return constant(out)


def number(v):
    return isinstance(v, (float, Int))


def equal(a, b):
    if number(a) and number(b):
        if type(a) is type(b):
            return a == b
        return float(a.n if isinstance(a, Int) else a) == float(b.n if isinstance(b, Int) else b)
    return type(a) is type(b) and a == b


def order(compare):
    def f(a, b):
        # cel-go asks for NaN before it looks at the type of the second operand.
        if isinstance(a, (bool, float, Int, str, Instant, Span)) and any(isinstance(n, float) and math.isnan(n) for n in (a, b)):
            return False
        if number(a) and number(b):
            if isinstance(a, Int) and isinstance(b, Int):
                return compare(a.n, b.n)
            return compare(float(a.n if isinstance(a, Int) else a), float(b.n if isinstance(b, Int) else b))
        if type(a) is not type(b) or not isinstance(a, (bool, str, Instant, Span)):
            raise CELError
        if isinstance(a, str):
            a, b = a.encode(), b.encode()
        return compare(a, b)

    return f


def contained(x, over):
    if not isinstance(over, list):
        raise CELError
    return any(equal(x, e) for e in over)


def in_int64(n):
    if not -(2**63) <= n < 2**63:
        raise CELError
    return n


def instant(ns):
    if not -62135596800 <= ns // 10**9 <= 253402300799:
        raise CELError
    return Instant(ns)


def calculate(name):
    def f(a, b):
        if isinstance(a, float) and isinstance(b, float) and name in "+-*":
            return {"+": a + b, "-": a - b, "*": a * b}[name]
        if isinstance(a, float) and isinstance(b, float) and name == "/":
            if b != 0:
                return a / b
            return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)
        if isinstance(a, Int) and isinstance(b, Int):
            if name in "/%" and b.n == 0:
                raise CELError
            quotient = abs(a.n) // abs(b.n) * (-1 if (a.n < 0) != (b.n < 0) else 1) if name in "/%" else 0
            results = {"+": a.n + b.n, "-": a.n - b.n, "*": a.n * b.n, "/": quotient, "%": a.n - quotient * b.n}
            return Int(in_int64(results[name]))
        if name == "+" and isinstance(a, str) and isinstance(b, str):
            return a + b
        sign = {"+": 1, "-": -1}.get(name)
        if sign and isinstance(a, Span) and isinstance(b, Span):
            return Span(in_int64(a.ns + sign * b.ns))
        if sign and isinstance(a, Instant) and isinstance(b, Span):
            return instant(a.ns + sign * b.ns)
        if name == "+" and isinstance(a, Span) and isinstance(b, Instant):
            return instant(b.ns + a.ns)
        if name == "-" and isinstance(a, Instant) and isinstance(b, Instant):
            in_int64((a.ns // 10**9 - b.ns // 10**9) * 10**9)
            return Span(in_int64(a.ns - b.ns))
        raise CELError

    return f


def texts(f):
    def g(*values):
        if not all(isinstance(v, str) for v in values):
            raise CELError
        return f(*values)

    return g


def ascii_only(letters, change):
    return texts(lambda s: "".join(change(c) if c in letters else c for c in s))


def to_timestamp(v):
    if isinstance(v, Instant):
        return v
    if not isinstance(v, str):
        raise CELError
    try:
        # Python 3.10 reads no fractions but those of three or six digits.
        text = re.sub(r"\.(\d+)", lambda m: f".{m[1][:6]:0<6}", v)
        whole = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise CELError from None
    return instant((whole - EPOCH) // timedelta(microseconds=1) * 1000)


def to_int(v):
    if isinstance(v, Int):
        return v
    if isinstance(v, float) and -(2**63) < v < 2**63:
        return Int(int(v))
    raise CELError


def size(v):
    if not isinstance(v, (str, list)):
        raise CELError
    return Int(len(v))


def negate(v):
    if isinstance(v, float):
        return -v
    if isinstance(v, Int):
        return Int(in_int64(-v.n))
    raise CELError


FUNCTIONS = {
    "eq": equal,
    "ne": lambda a, b: not equal(a, b),
    "lt": order(lambda a, b: a < b),
    "le": order(lambda a, b: a <= b),
    "gt": order(lambda a, b: a > b),
    "ge": order(lambda a, b: a >= b),
    "in": contained,
    "add": calculate("+"),
    "sub": calculate("-"),
    "mult": calculate("*"),
    "div": calculate("/"),
    "mod": calculate("%"),
    "-_": negate,
    "startsWith": texts(str.startswith),
    "endsWith": texts(str.endswith),
    "contains": texts(str.__contains__),
    "lowerAscii": ascii_only("ABCDEFGHIJKLMNOPQRSTUVWXYZ", str.lower),
    "upperAscii": ascii_only("abcdefghijklmnopqrstuvwxyz", str.upper),
    "size": size,
    "timestamp": to_timestamp,
    "duration": lambda s: Span(int(float(s.removesuffix("s")) * 10**9)),
    "int": to_int,
    "double": lambda v: float(v) if isinstance(v, float) or v in ("NaN", "+Inf", "-Inf") else float(to_int(v).n),
}

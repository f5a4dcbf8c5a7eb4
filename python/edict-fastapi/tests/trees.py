"""Random tables and filters, for comparing the translation with tests/cel.py."""

import random

TEXTS = ["", "a", "A", "amy", "Amy", "AMY", "a%", "a_", "%", "_", "\\", "amy%", "emea", "EMEA", "é", "É", "e\u0301", "ß", "𝔸", "\uffff", "'", '"', "a'b", "am", "my", "1", "true", "null"]
# Not beyond what is calculated with: rows with such values are kept out.
DOUBLES = [0.0, -0.0, 1.0, 1.5, -1.5, 2.0, 3.0, 0.1, 100.0, 1e15, 9007199254740992.0, 9007199254740994.0, 1e59, -1e59, 1e-59, 9.3e18]
INTS = [0, 1, 2, 3, -1, -2, 7, 100, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
TIMES = ["2024-05-01T10:00:00Z", "2024-05-01T10:00:00.000001Z", "2024-04-30T23:59:59.999999Z", "1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1700-01-01T00:00:00Z"]
SPANS = ["0s", "1s", "3600s", "-3600s", "86400.5s", "0.000001s", "9000000000s", "-9000000000s"]

COLUMNS = {
    "owner": ("string", TEXTS),
    "region": ("string", TEXTS),
    "amount": ("int", INTS),
    "stock": ("int", INTS),
    "score": ("double", DOUBLES),
    "rate": ("double", DOUBLES),
    "paid": ("bool", [True, False]),
    "open": ("bool", [True, False]),
    "created": ("timestamp", TIMES),
    "closed": ("timestamp", TIMES),
}
MISSING = ("region", "stock", "rate", "open", "closed")


def table(r: random.Random, rows: int) -> list[dict]:
    return [
        {"id": f"r{i}"} | {name: None if r.random() < 0.25 else r.choice(values) for name, (_, values) in COLUMNS.items()}
        for i in range(rows)
    ]


def x(operator, *operands):
    return {"expression": {"operator": operator, "operands": list(operands)}}


def v(value):
    return {"value": value}


def attr(name):
    return {"variable": f"request.resource.attr.{name}"}


def filter_of(r: random.Random, depth: int = 2):
    if depth and r.random() < 0.5:
        operator = r.choice(["and", "or", "not"])
        return x(operator, *(filter_of(r, depth - 1) for _ in range(1 if operator == "not" else r.randint(1, 3))))
    return x(r.choice(["holds", "holds", "errs"]), expression(r, "bool", 3))


def column(r, *types):
    return attr(r.choice([name for name, (t, _) in COLUMNS.items() if t in types]))


def scalar(r):
    return v(r.choice([None, True, False, r.choice(TEXTS), r.choice(DOUBLES), float(r.choice(INTS))]))


def expression(r: random.Random, wanted: str, depth: int):
    """An expression that most often gives what is wanted, and now and then something else."""
    if r.random() < 0.08:
        wanted = r.choice(["bool", "string", "number", "int", "timestamp", "duration"])
    if r.random() < 0.05:
        return scalar(r)
    if depth and r.random() < 0.12:
        return x("if", expression(r, "bool", depth - 1), expression(r, wanted, depth - 1), expression(r, wanted, depth - 1))
    return globals()[f"{wanted}_"](r, depth - 1) if depth > 0 else leaf(r, wanted)


def leaf(r, wanted):
    known = r.random() < 0.4
    match wanted:
        case "bool":
            return v(r.random() < 0.5) if known else column(r, "bool")
        case "string":
            return v(r.choice(TEXTS)) if known else r.choice([column(r, "string"), {"variable": "request.resource.id"}])
        case "number":
            if r.random() < 0.05:
                return x("double", v("NaN"))
            return v(float(r.choice(INTS + DOUBLES))) if known else column(r, "int", "double")
        case "int":
            return x("int", v(r.choice([-3, 0, 1, 2, 5]))) if known else x("size", column(r, "string"))
        case "timestamp":
            return x("timestamp", v(r.choice(TIMES)) if known else column(r, "timestamp"))
        case "duration":
            return x("duration", v(r.choice(SPANS)))


def bool_(r, depth):
    def e(wanted):
        return expression(r, wanted, depth)

    kind = r.choice(["string", "number", "int", "timestamp", "duration", "bool"])
    match r.choice(["column", "and", "or", "not", "equal", "equal", "order", "order", "in", "list", "has", "search"]):
        case "column":
            return column(r, "bool")
        case ("and" | "or") as operator:
            return x(operator, *(e("bool") for _ in range(r.randint(1, 3))))
        case "not":
            return x("not", e("bool"))
        case "equal":
            return x(r.choice(["eq", "ne"]), *r.sample([e(kind), e(kind) if r.random() < 0.8 else scalar(r)], 2))
        case "order":
            return x(r.choice(["lt", "le", "gt", "ge"]), *r.sample([e(kind), e(kind) if r.random() < 0.9 else scalar(r)], 2))
        case "in":
            return x("in", e(kind), v([scalar(r)["value"] for _ in range(r.randint(0, 4))]))
        case "list":
            return x("in", e(kind), x("list", e(kind), e(kind)))
        case "has":
            return x("has", attr(r.choice(list(COLUMNS))))
        case "search":
            return x(r.choice(["startsWith", "endsWith", "contains"]), e("string"), e("string"))


def string_(r, depth):
    match r.choice(["leaf", "leaf", "add", "letters"]):
        case "add":
            return x("add", expression(r, "string", depth), expression(r, "string", depth))
        case "letters":
            return x(r.choice(["lowerAscii", "upperAscii"]), expression(r, "string", depth))
    return leaf(r, "string")


def number_(r, depth):
    match r.choice(["leaf", "leaf", "leaf", "calculate", "divide", "negate"]):
        case "calculate":
            return x(r.choice(["add", "sub", "mult"]), expression(r, "number", depth), expression(r, "number", depth))
        case "divide":
            return x("div", expression(r, "number", depth), v(r.choice([2.0, 0.1, -3.0])))
        case "negate":
            return x("-_", expression(r, "number", depth))
    return leaf(r, "number")


def int_(r, depth):
    match r.choice(["leaf", "calculate", "divide", "int"]):
        case "calculate":
            return x(r.choice(["add", "sub", "mult"]), expression(r, "int", depth), expression(r, "int", depth))
        case "divide":
            return x(r.choice(["div", "mod"]), expression(r, "int", depth), x("int", v(r.choice([2, -3, 0]))))
        case "int":
            return x("int", expression(r, "number", depth))
    return leaf(r, "int")


def timestamp_(r, depth):
    if r.random() < 0.4:
        return x(r.choice(["add", "sub"]), expression(r, "timestamp", depth), leaf(r, "duration"))
    return leaf(r, "timestamp")


def duration_(r, depth):
    match r.choice(["leaf", "between", "add"]):
        case "between":
            return x("sub", expression(r, "timestamp", depth), expression(r, "timestamp", depth))
        case "add":
            return x(r.choice(["add", "sub"]), expression(r, "duration", depth), expression(r, "duration", depth))
    return leaf(r, "duration")

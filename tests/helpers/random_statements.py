"""Random statements of random programs."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from tests.helpers.random_function import MAP, WIDE, Value, Writer

UNARY = (
    "{0}.relu()",
    "{0}.tanh()",
    "{0} * 0.5",
    "{0} - 1.5",
    "{0}.softmax(-1)",
    "{0} - {0}.mean(-1, keepdim=True)",
    "{0} + {0}",
)
BINARY = ("{0} + {1}", "{0} - {1}", "{0} * {1}.tanh()", "torch.maximum({0}, {1})")


def _unary(w: Writer) -> None:
    if v := w.any():
        w.let(w.draw(st.sampled_from(UNARY)).format(v.text), v.dims, "f", v.fixed)


def _binary(w: Writer) -> None:
    if (v := w.any()) and (u := w.any(dims=v.dims)):
        text = w.draw(st.sampled_from(BINARY)).format(v.text, u.text)
        w.let(text, v.dims, "f", v.fixed and u.fixed)


def _layer(w: Writer) -> None:
    layer = w.draw(st.sampled_from(["lin0", "lin0", "lin1", "conv", "block"]))
    if v := w.any(dims=MAP if layer == "conv" else WIDE):
        u = w.any(dims=v.dims, fixed=v.fixed)
        extra = f", b={u.text}" if layer == "block" and w.draw(st.booleans()) else ""
        end = "['sum']" if layer == "block" else ""
        w.let(f"self.{layer}({v.text}{extra}){end}", v.dims, "f", v.fixed)


def _shape(w: Writer) -> None:
    if v := w.any():
        forms = [(f"{v.text}.flatten(1)", (math.prod(v.dims),))]
        if len(v.dims) == 3:
            forms.append((f"{v.text}.mean((2, 3))", v.dims[:1]))
            forms.append((f"{v.text}.transpose(2, 3)", (v.dims[0], v.dims[2], v.dims[1])))
            forms.append((f"{v.text}.amax(-1)", v.dims[:2]))
        text, dims = w.draw(st.sampled_from(forms))
        w.let(text, dims, "f", v.fixed)


def _cat(w: Writer) -> None:
    if (v := w.any(fixed=False)) and v.dims[0] <= 16 and (u := w.any(dims=v.dims)):
        size = w.any(kind="fib", fixed=False)
        same = f".expand({size.text}.shape[0], {', '.join('-1' for _ in v.dims)})"
        text = f"torch.cat([{u.text}{same if u.fixed else ''}, {v.text}], 1)"
        w.let(text, (2 * v.dims[0], *v.dims[1:]))


def _chunk(w: Writer) -> None:
    if (v := w.any()) and v.dims[0] % 2 == 0:
        each = ((v.dims[0] // 2, *v.dims[1:]), "f", v.fixed)
        w.lines.append(f"{', '.join(w.new(each, each))} = {v.text}.chunk(2, 1)")


def _size(w: Writer) -> None:
    if (v := w.any()) and (u := w.any(kind="fib", fixed=False)):
        w.let(f"{v.text} + {u.text}.shape[0]", v.dims, "f", v.fixed)


def _token(w: Writer) -> None:
    """Reads the size of any tensor, one before a border too."""
    if (v := w.any(dims=WIDE)) and (u := w.any(kind="fib", fixed=False)):
        text = f"torch.cat([self.weight.expand({u.text}.shape[0], -1), {{0}}], 1)"
        same = f"{v.text}.expand({u.text}.shape[0], -1)" if v.fixed else v.text
        w.let(text.format(same), (8,))


def _where(w: Writer) -> None:
    if (v := w.any()) and (u := w.any(dims=v.dims)):
        on = w.any(kind="b", dims=v.dims)
        text = on.text if on else f"{v.text} > 0.1234"
        fixed = v.fixed and u.fixed and (on is None or on.fixed)
        w.let(f"torch.where({text}, {v.text}, {u.text})", v.dims, "f", fixed)


def _cast(w: Writer) -> None:
    if v := w.any(kind="fib"):
        forms = {
            "f": [("({0}.tanh() * 2.7 + 0.123).long()", "i"), ("{0} > 0.1234", "b")],
            "i": [("{0}.float()", "f"), ("{0} * 2 + 1", "i"), ("{0} > 1", "b")],
            "b": [("{0}.float()", "f"), ("~{0}", "b"), ("{0}.long()", "i")],
        }
        text, kind = w.draw(st.sampled_from(forms[v.kind]))
        w.let(text.format(v.text), v.dims, kind, v.fixed)


def _constant(w: Writer) -> None:
    forms = [("torch.full((1, 4), 0.3)", "f"), ("self.weight", "f"), ("self.steps", "i")]
    text, kind = w.draw(st.sampled_from(forms))
    w.let(text, WIDE, kind, True)


STEPS = (
    _unary,
    _binary,
    _layer,
    _layer,
    _shape,
    _cat,
    _chunk,
    _size,
    _size,
    _token,
    _token,
    _where,
    _cast,
    _constant,
)


def _mark(w: Writer, *more: Value) -> None:
    values = [*more, *w.some(3 - len(more))]
    text, gets = w.nested(values)
    name, source = w.draw(st.sampled_from(["h0", "h1", "h2"])), f"n{w.count}"
    w.lines.append(f"{source} = mark_here('{name}', {text})")
    w.unpack(source, gets, values)


def border(w: Writer) -> None:
    """A mark on values; nothing but them and the inputs is used behind it."""
    joined = w.join()
    before = [value for value in w.pool if not (value.text.startswith("x") or value.fixed)]
    _mark(w, joined)
    w.pool[:] = [value for value in w.pool if value not in before]


def _call(w: Writer) -> None:
    name = w.draw(st.sampled_from(list(w.methods)))
    method = w.methods[name]
    args = [w.any(kind=v.kind, dims=v.dims, fixed=v.fixed) for v in method.takes]
    if all(args):
        texts = [value.text for value in args if value is not None]
        first = texts[0] if len(texts) == 1 else f"{{'p': {texts[0]}, 'q': [{texts[1]}]}}"
        v = w.any(dims=WIDE, fixed=False) if method.second and w.draw(st.booleans()) else None
        source, second = f"r{w.count}", f", b={v.text}" if v else ""
        w.lines.append(f"{source} = self.{name}({first}{second})")
        w.unpack(source, method.gets, method.gives)


def steps(w: Writer, most: int, *, least: int = 1) -> None:
    """Some random statements."""
    marks = [_mark, _mark, border, border, _call, _call] if w.methods else [_mark]
    for _ in range(w.draw(st.integers(least, most))):
        w.draw(st.sampled_from([*STEPS, *marks]))(w)

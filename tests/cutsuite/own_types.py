"""Own graphs in ONNX's notation: values of every type and size, and some that cannot cross."""

SEQUENCE = """(float[4,3] x) => (float[2,3] y)
<int64 one = {1}, int64[2] sizes = {2, 2}>
{
  a = Neg(x)
  parts = SplitToSequence<axis = 0>(a, sizes)
  part = SequenceAt(parts, one)
  y = Exp(part)
}"""
SEQUENCE_OUT = """(float[2,3] x) => (seq(float[2,3]) y)
{
  a = Neg(x)
  b = Exp(a)
  y = SequenceConstruct(a, b)
}"""
SEQUENCE_IN = """(seq(float[2,3]) s, float[2,3] x) => (float[2,3] y)
<int64 one = {1}>
{
  a = Neg(x)
  part = SequenceAt(s, one)
  y = Add(part, a)
}"""
OPTIONAL = """(float[2,3] x) => (float[2,3] y)
{
  a = Neg(x)
  maybe = Optional(a)
  b = OptionalGetElement(maybe)
  y = Exp(b)
}"""
TEXT = """(string[3] names, float[3] x) => (string[3] both, bool[3] same, float[3] y)
<string[1] mark = {"!"}, string[3] wanted = {"a!", "b!", "d!"}>
{
  both = StringConcat(names, mark)
  same = Equal(both, wanted)
  number = Cast<to = 1>(same)
  y = Mul(number, x)
}"""
WHOLE_NUMBERS = """(int64[3] i, bool[3] keep) => (int64[3] y, bool[3] other)
<int64[3] w = {5, 6, 7}>
{
  a = Mul(i, w)
  other = Not(keep)
  zero = Sub(a, a)
  b = Where(other, a, zero)
  y = Add(b, w)
}"""
NOTHING_AND_SCALARS = """(float[0,3] x, float s) => (float[0,3] y, float t)
{
  a = Mul(x, s)
  b = Neg(s)
  y = Add(a, b)
  t = Exp(b)
}"""
ODD_NUMBERS = """(float[2,3] x) => (float[2,3] y, bfloat16[2,3] b)
{
  a = Neg(x)
  b = Cast<to = 16>(a)
  c = Cast<to = 1>(b)
  d = Cast<to = 17>(c)
  e = Cast<to = 1>(d)
  y = Exp(e)
}"""
HALF = """(float16[2,3] x) => (float16[2,3] y)
{
  k = Constant<value = float[3] {1.0, 2.0, 3.0}>()
  w = Cast<to = 10>(k)
  a = Mul(x, w)
  b = Exp(a)
  c = Div(b, w)
  y = Tanh(c)
}"""
OPEN_SIZES = """(float[batch,3] x, float[batch,width] u) => (float[batch,wide] y, int64[1] n)
<int64[1] last = {-1}>
{
  a = Neg(x)
  b = Concat<axis = 1>(a, u)
  n = Shape<start = 0, end = 1>(b)
  shape = Concat<axis = 0>(n, last)
  c = Reshape(u, shape)
  d = Exp(c)
  y = Concat<axis = 1>(d, b)
}"""
SIZE_FROM_DATA = """(float[2,3] x) => (float[found] y)
{
  zero = Constant<value = float {0.0}>()
  more = Greater(x, zero)
  where = NonZero(more)
  places = Transpose(where)
  picked = GatherND(x, places)
  y = Exp(picked)
}"""
QUANTISED = """(float[2,3] x) => (float[2,3] y)
<int8[3] w = {-8, 3, 70}, float scale = {0.5}>
{
  k = DequantizeLinear(w, scale)
  a = Mul(x, k)
  q = QuantizeLinear(a, scale)
  b = DequantizeLinear(q, scale)
  y = Add(b, k)
}"""
OTHER_DOMAINS = """(float[2,3] x) => (float[2,3] y)
{
  a = Neg(x)
  b = ai.onnx.ml.Normalizer<norm = "L2">(a)
  c = Exp(b)
  y = Mul(c, a)
}"""
CONSTANT_SEQUENCE = """(float[3] x) => (float[3] y)
<float[3] w = {1.0, 2.0, 3.0}, int64 one = {1}>
{
  letters = Constant<value_strings = ["a", "b", "c"]>()
  same = Equal(letters, letters)
  number = Cast<to = 1>(same)
  s = SequenceConstruct(w, number)
  a = Neg(x)
  taken = SequenceAt(s, one)
  b = Mul(a, taken)
  y = Add(b, taken)
}"""

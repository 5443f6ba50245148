"""Own graphs in ONNX's notation: constants, outputs, functions and names at the border."""

FOLDABLE = """(float[2,3] x) => (float[2,3] y, float[2,3] z)
<float[3] w = {1.0, 2.0, 3.0}>
{
  shape = Shape(w)
  ones = ConstantOfShape<value = float[1] {1.0}>(shape)
  sum = Add(w, ones)
  a = Mul(x, sum)
  b = Exp(a)
  flipped = Neg(sum)
  c = Add(b, sum)
  y = Mul(c, flipped)
  z = Sub(b, flipped)
}"""
OUTPUT_IS_INPUT = """(float[2,3] x) => (float[2,3] x, float[2,3] y)
{
  a = Neg(x)
  y = Exp(a)
}"""
INPUT_UNDER_ANOTHER_NAME = """(float[2,3] x, float[2,3] u)
=> (float[2,3] same, float[2,3] y, float[2,3] u)
{
  same = Identity(x)
  a = Neg(x)
  y = Add(a, u)
}"""
OUTPUT_USED_INSIDE = """(float[2,3] x) => (float[2,3] y, float[2,3] a, float[2,3] z)
{
  a = Neg(x)
  b = Exp(a)
  y = Add(a, b)
  c = Mul(y, b)
  z = Sub(c, a)
}"""
CONSTANT_OUTPUTS = """(float[2,3] x) => (float[2,3] y, float[3] w, float[3] v, float k)
<float[3] w = {1.0, 2.0, 3.0}>
{
  v = Neg(w)
  k = Constant<value = float {2.5}>()
  a = Mul(x, v)
  b = Exp(a)
  y = Add(b, w)
}"""
TWICE = """(float[2,3] x) => (float[2,3] y, float[8,3] z)
{
  a = Neg(x)
  b = Mul(a, a)
  z = Concat<axis = 0>(b, a, b, a)
  y = Add(b, b)
}"""
FUNCTIONS = """(float[2,3] x) => (float[2,3] y)
{
  a = custom.Scaled<by = 3.0>(x)
  b = Exp(a)
  c = custom.Scaled<by = 0.5>(b)
  y = custom.Twice(c)
}
<domain: "custom", opset_import: ["" : 20, "custom" : 1]> Scaled <by> (p) => (q)
{
  k = Constant<value_float: float = @by>()
  t = custom.Twice(p)
  q = Mul(t, k)
}
<domain: "custom", opset_import: ["" : 20]> Twice (p) => (q) { q = Add(p, p) }"""
FUNCTION_IN_A_BODY = """(float[2,3] x, bool c) => (float[2,3] y)
{
  a = Neg(x)
  b = Exp(a)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) { p = custom.Twice(b) },
    else_branch = no () => (float[2,3] q) { q = Add(a, b) }
  >
}
<domain: "custom", opset_import: ["" : 20]> Twice (p) => (q) { q = Add(p, p) }"""
FUNCTION_OF_CONSTANTS = """(float[2,3] x) => (float[2,3] y)
<float[3] w = {1.0, 2.0, 3.0}>
{
  twice = custom.Twice(w)
  a = Mul(x, twice)
  b = Exp(a)
  y = Add(b, twice)
}
<domain: "custom", opset_import: ["" : 20]> Twice (p) => (q) { q = Add(p, p) }"""
SKIPPED_NAMES = """(float[1,1,4,4] x) => (float[1,1,2,2] y)
<float high = {6.0}>
{
  a = Clip(x, , high)
  pooled, where = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)
  kept, mask = Dropout(pooled)
  y = Neg(kept)
}"""
DEAD_ENDS = """(float[2,3] x, float[2,3] unused) => (float[2,3] y)
<float[3] spare = {1.0, 2.0, 3.0}>
{
  a = Neg(x)
  lost = Exp(unused)
  lost2 = Mul(lost, a)
  b = Exp(a)
  lost3 = Add(spare, b)
  y = Sub(b, a)
}"""
SEVERAL_RESULTS = """(float[2,4] x) => (float[2,2] y, int64[2,2] at)
<int64[1] two = {2}>
{
  left, right = Split<axis = 1, num_outputs = 2>(x)
  a = Exp(left)
  best, at = TopK<axis = 1>(a, two)
  b = Sub(best, right)
  y = Add(b, a)
}"""
ODD_TENSOR_NAMES = """(float[2,3] "x:0") => (float[2,3] "out/y.1")
<float[3] "w w" = {1.0, 2.0, 3.0}>
{
  "a:output" = Neg("x:0")
  "a[1]:input" = Mul("a:output", "w w")
  "m.0" = Exp("a[1]:input")
  "part0" = Add("m.0", "a:output")
  "out/y.1" = Sub("part0", "w w")
}"""
BODY_IN_A_FUNCTION = """(float[2,3] x, bool c) => (float[2,3] y)
{
  a = Neg(x)
  b = custom.Choose(a, c)
  y = Exp(b)
}
<domain: "custom", opset_import: ["" : 20]> Choose (p, k) => (q)
{
  n = Neg(p)
  q = If(k) <
    then_branch = yes () => (float[2,3] u) { u = Mul(n, p) },
    else_branch = no () => (float[2,3] v) { v = Identity(p) }
  >
}"""

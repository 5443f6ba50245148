"""Own graphs whose nodes have bodies: what If, Loop and Scan capture must cross a border too."""

IF = """(float[2,3] x, bool c) => (float[2,3] y)
<float[3] w = {1.0, 2.0, 3.0}>
{
  a = Relu(x)
  b = Neg(x)
  half = Constant<value = float {0.5}>()
  scaled = Mul(w, half)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) { p = Mul(a, scaled) },
    else_branch = no () => (float[2,3] q) { q = Add(b, w) }
  >
}"""
NESTED_IF = """(float[2,3] x, bool c) => (float[2,3] y, float[2,3] z)
{
  a = Exp(x)
  b = Neg(a)
  d = Not(c)
  z = Add(a, b)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) {
      p = If(d) <
        then_branch = yes_yes () => (float[2,3] r) { r = Identity(z) },
        else_branch = yes_no () => (float[2,3] s) <float[3] k = {7.0, 8.0, 9.0}> {
          inner = Mul(b, k)
          s = Add(inner, a)
        }
      >
    },
    else_branch = no () => (float[2,3] q) { q = Sub(b, x) }
  >
}"""
IF_ON_A_CONSTANT = """(float[2,3] x) => (float[2,3] y)
<float[3] w = {1.0, 2.0, 3.0}>
{
  yes = Constant<value = bool {1}>()
  chosen = If(yes) <
    then_branch = one () => (float[3] p) { p = Neg(w) },
    else_branch = two () => (float[3] q) { q = Exp(w) }
  >
  a = Mul(x, chosen)
  b = Tanh(a)
  y = Sub(b, chosen)
}"""
LOOP = """(float[2,3] x) => (float[2,3] last, float[3,2,3] each)
<int64 count = {3}>
{
  a = Relu(x)
  b = Sub(x, a)
  yes = Constant<value = bool {1}>()
  last, each = Loop(count, yes, a) <
    body = turn (int64 i, bool go, float[2,3] sum)
      => (bool again, float[2,3] more, float[2,3] out)
    {
      again = Identity(go)
      more = Add(sum, b)
      out = Mul(more, x)
    }
  >
}"""
LOOP_WITH_IF = """(float[2,3] x, int64 count) => (float[2,3] y)
{
  a = Neg(x)
  b = Abs(x)
  yes = Constant<value = bool {1}>()
  two = Constant<value = int64 {2}>()
  last = Loop(count, yes, a) <
    body = turn (int64 i, bool go, float[2,3] sum) => (bool again, float[2,3] more) {
      again = Identity(go)
      early = Less(i, two)
      more = If(early) <
        then_branch = first () => (float[2,3] p) { p = Add(sum, b) },
        else_branch = later () => (float[2,3] q) {
          t = Mul(sum, a)
          q = Sub(t, b)
        }
      >
    }
  >
  y = Add(last, b)
}"""
SCAN = """(float[4,3] x) => (float[3] last, float[4,3] each)
<float[3] start = {0.5, 1.0, 1.5}, int64[1] rows = {0}>
{
  a = Tanh(x)
  mean = ReduceMean<keepdims = 0>(a, rows)
  b = Neg(mean)
  last, each = Scan<
    num_scan_inputs = 1,
    body = turn (float[3] state, float[3] row) => (float[3] next, float[3] out) {
      next = Add(state, row)
      out = Mul(next, b)
    }
  >(start, a)
}"""
SCAN_IN_IF = """(float[4,3] x, bool c) => (float[3] y)
<int64[1] rows = {0}>
{
  a = Abs(x)
  b = ReduceMax<keepdims = 0>(a, rows)
  d = Neg(b)
  y = If(c) <
    then_branch = yes () => (float[3] p) {
      p, each = Scan<
        num_scan_inputs = 1,
        body = turn (float[3] state, float[3] row) => (float[3] next, float[3] out) {
          t = Add(state, row)
          next = Mul(t, d)
          out = Identity(row)
        }
      >(b, a)
    },
    else_branch = no () => (float[3] q) { q = Identity(d) }
  >
}"""
INPUT_IN_A_BODY_ALONE = """(float[2,3] x, float[2,3] hidden, bool c) => (float[2,3] y)
{
  a = Relu(x)
  b = Exp(a)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) { p = Add(b, hidden) },
    else_branch = no () => (float[2,3] q) { q = Identity(hidden) }
  >
}"""
SEQUENCE_IN_A_BODY = """(float[2,3] x) => (float[2,3] y)
<int64 count = {2}, int64 first = {0}>
{
  a = Neg(x)
  b = Exp(x)
  yes = Constant<value = bool {1}>()
  last = Loop(count, yes, a) <
    body = turn (int64 i, bool go, float[2,3] sum) => (bool again, float[2,3] more) {
      again = Identity(go)
      both = SequenceConstruct(sum, b)
      taken = SequenceAt(both, i)
      more = Add(taken, sum)
    }
  >
  y = Mul(last, b)
}"""
SEQUENCE_CAPTURED = """(float[2,3] x, bool c) => (float[2,3] y)
<int64 one = {1}, int64 none = {0}>
{
  a = Neg(x)
  b = Exp(a)
  s = SequenceConstruct(a, b)
  d = Exp(b)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) { p = SequenceAt(s, one) },
    else_branch = no () => (float[2,3] q) {
      t = SequenceAt(s, none)
      q = Add(t, d)
    }
  >
}"""
EQUAL_NAMES_IN_BODIES = """(float[2,3] x, bool c) => (float[2,3] y)
{
  a = Neg(x)
  m = If(c) <
    then_branch = yes () => (float[2,3] p) {
      t = Exp(a)
      p = Neg(t)
    },
    else_branch = no () => (float[2,3] p) {
      t = Exp(x)
      p = Add(t, a)
    }
  >
  b = Exp(m)
  y = If(c) <
    then_branch = yes () => (float[2,3] p) {
      t = Exp(b)
      p = Neg(t)
    },
    else_branch = no () => (float[2,3] p) { p = Add(b, a) }
  >
}"""

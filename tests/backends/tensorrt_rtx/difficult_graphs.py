"""Graphs that TensorRT may not take, each with what the converter says of it."""

from __future__ import annotations

HEADER = '<ir_version: 10, opset_import: ["" : 21, "com.example" : 1]>\ng '
BUILT = r"^\S+: fp32, [\d,]+ bytes, not checked"
BORDER = (
    "does not take its inputs and outputs: its tensors are float32, float16, int8, uint8, int32, "
    "int64 or bool: "
)
LOOP_BODY = """<body = b (int64 i, bool c, float[2,3] v) => (bool k, float[2,3] w) {
    k = Identity(c)
    w = Add(v, v)
}>"""
OTHERWISE = "else_branch = b () => (float[2,3] u) { u = Neg(x) }"
BOXES = "<int64 most = {3}, float iou = {0.5}, float least = {0.1}>"
REGIONS = "RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2>"

GRAPHS = {  # name: graph, what the converter says
    "int64": ("(int64[2,3] x) => (int64[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "int8": ("(int8[2,3] x) => (int8[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "bool": ("(bool[2,3] x, bool[2,3] z) => (bool[2,3] y) { [both] y = And(x, z) }", BUILT),
    "half": ("(float16[2,3] x) => (float16[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "bytes_cast": ("(uint8[2,3] x) => (float[2,3] y) { [cast] y = Cast <to = 1> (x) }", BUILT),
    "bytes_added": (
        "(uint8[2,3] x) => (uint8[2,3] y) { [sum] y = Add(x, x) }",
        r"  Add 'sum': .* requires inputs with type .* But type is UInt8",
    ),
    "bfloat16_at_the_border": (
        "(bfloat16[2,3] x) => (bfloat16[2,3] y) { [sum] y = Add(x, x) }",
        f"{BORDER}'x' bfloat16",
    ),
    "int16": (
        "(int16[2,3] x) => (int16[2,3] y) { [sum] y = Add(x, x) }",
        f"{BORDER}'x' int16",
    ),
    "text": (
        "(string[2] x) => (string[2] y) { [same] y = Identity(x) }",
        f"{BORDER}'x' object",
    ),
    "double_at_the_border": (
        "(double[2,3] x) => (double[2,3] y) { [deep] y = Relu(x) }",
        f"{BORDER}'x' float64",
    ),
    "double_as_a_result": (
        "(float[2,3] x) => (double[2,3] y) { [wide] y = Cast <to = 11> (x) }",
        f"{BORDER}'y' float64",
    ),
    "doubles_inside": (  # the parser narrows them to fp32
        "(float[2,3] x) => (float[2,3] y) { [wide] a = Cast <to = 11> (x)"
        "\n [deep] b = Add(a, a) \n [narrow] y = Cast <to = 1> (b) }",
        BUILT,
    ),
    "nine_dimensions": (
        "(float[1,1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,1,2] y) { [r] y = Relu(x) }",
        "its tensors have at most 8 dimensions: 'x' float32",
    ),
    "unknown_rank": (
        "(float[] x) => (float[] y) { [r] y = Relu(x) }",
        r"its tensors have a known number of dimensions: 'x' float32\[\.\.\.\]",
    ),
    "scalar": ("(float x) => (float y) { [r] y = Relu(x) }", BUILT),
    "open_input": (
        "(float[0,3] x) => (float[0,3] y) { [none] y = Relu(x) }",
        "axis 0 of 'x' has an open size",
    ),
    "empty_weight": (
        "(float[2,3] x) => (float[2,3] y) <float[0,3] w = {}>"
        "{ [join] y = Concat <axis = 0> (x, w) }",
        BUILT,
    ),
    "empty_inside": (
        "(float[2,3] x) => (float[0,3] y) <int64[1] at = {0}>"
        "{ [cut] a = Slice(x, at, at, at) \n [none] y = Relu(a) }",
        BUILT,
    ),
    "empty_batch": ("(float[n,3] x) => (float[n,3] y) { [some] y = Relu(x) }", BUILT),
    "suppression": (
        f"(float[1,8,4] b, float[1,2,8] s) => (int64[K,3] y) {BOXES}"
        "{ [suppress] y = NonMaxSuppression(b, s, most, iou, least) }",
        "builds no plan: .*suppress_0 has no runners that implement it",
    ),
    "regions": (
        "(float[1,2,8,8] f, float[n,4] r, int64[n] b) => (float[n,2,2,2] y)"
        f"{{ [pool] y = {REGIONS} (f, r, b) }}",
        r"(?s)RoiAlign 'pool': .*works only where CUDA does: no NVIDIA driver here",
    ),
    "if": (
        "(float[2,3] x, bool c) => (float[2,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[2,3] t) {{ t = Relu(x) }}, {OTHERWISE}> }}",
        BUILT,
    ),
    "if_of_two_sizes": (
        "(float[2,3] x, bool c) => (float[A,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[4,3] t) {{ t = Concat <axis = 0> (x, x) }}, {OTHERWISE}> }}",
        BUILT,
    ),
    "if_of_two_ranks": (
        "(float[2,3] x, bool c) => (float[A,B] y) <int64[1] s = {6}> { [choose] y = If (c) <"
        "then_branch = a () => (float[2,3] t) { t = Relu(x) },"
        "else_branch = b () => (float[6] u) { u = Reshape(x, s) }> }",
        "builds no plan: .*choose_OutputLayer: Must have inputs with equal ranks",
    ),
    "loop": (
        "(float[2,3] x) => (float[2,3] y) <int64 n = {3}, bool go = {1}>"
        f"{{ [again] y = Loop (n, go, x) {LOOP_BODY} }}",
        BUILT,
    ),
    "loop_as_often_as_an_input_says": (
        "(float[2,3] x, int64 n) => (float[2,3] y) <bool go = {1}>"
        f"{{ [again] y = Loop (n, go, x) {LOOP_BODY} }}",
        BUILT,
    ),
    "scan": (
        "(float[4,3] x, float[3] z) => (float[3] y, float[4,3] r) { [walk] y, r = Scan (z, x) <"
        "num_scan_inputs = 1, body = b (float[3] s, float[3] e) => (float[3] t, float[3] o)"
        "{ t = Add(s, e) \n o = Identity(t) }> }",
        BUILT,
    ),
    "sequence": (
        "(float[4,3] x) => (float[2,3] y) <int64 at = {0}>"
        "{ [parts] q = SplitToSequence <axis = 0> (x) \n [pick] y = SequenceAt(q, at) }",
        r"  SplitToSequence 'parts': refused by \w+\n  SequenceAt 'pick': refused by",
    ),
    "sequence_in_a_branch": (
        "(float[2,3] x, bool c) => (float[2,3] y) <int64 at = {0}> { [choose] y = If (c) <"
        "then_branch = a () => (float[2,3] t) { [list] q = SequenceConstruct(x)"
        f"\n [pick] t = SequenceAt(q, at) }}, {OTHERWISE}> }}",
        "  If 'choose': SequenceAt 'pick' in it: refused by",
    ),
    "custom": (
        "(float[2,3] x) => (float[2,3] y) { [mine] y = com.example.Own(x) }",
        "  Own 'mine': .*Plugin not found",
    ),
    "custom_in_a_branch": (
        "(float[2,3] x, bool c) => (float[2,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[2,3] t) {{ [mine] t = com.example.Own(x) }}, {OTHERWISE}> }}",
        "  If 'choose': Own 'mine' in it: .*Plugin not found",
    ),
    "custom_without_a_name": (
        "(float[2,3] x) => (float[2,3] y) { a = Relu(x) \n y = com.example.Own(a) }",
        "  Own 'number 1': .*Plugin not found",
    ),
    "places_of_nonzeros": (
        "(float[2,3] x) => (int64[2,K] y) { [find] y = NonZero(x) }",
        "  NonZero 'find': .*plugin creator version 1 was not found",
    ),
    "kept_rows": (
        "(float[4,3] x, bool[4] c) => (float[K,3] y) { [keep] y = Compress <axis = 0> (x, c) }",
        "  Compress 'keep': refused by",
    ),
    "size_from_an_input": (
        "(float[2,6] x, int64[2] s) => (float[A,B] y) { [shape] y = Reshape(x, s) }",
        "the values of input 's' decide shapes",
    ),
    "sizes_that_contradict": (
        "(float[2,3] x) => (float[2,3] y) <int64[1] s = {7}>"
        "{ [fold] a = Reshape(x, s) \n [r] y = Relu(a) }",
        r"  Reshape 'fold': .*reshape changes volume. Reshaping \[2,3\] to \[7\]",
    ),
    "a_tensor_that_is_not_there": (
        "(float[2,3] x) => (float[2,3] y) { [sum] y = Add(x, nowhere) }",
        "  Add 'sum': .*Node input was not registered",
    ),
    "a_circle": (
        "(float[2,3] x) => (float[2,3] y)"
        "{ [a] a = Add(x, b) \n [b] b = Relu(a) \n [sum] y = Add(x, b) }",
        "\n  Assertion failed: .*Failed to sort the model topologically",
    ),
}

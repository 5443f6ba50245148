"""Programs that are checked against NVIDIA's bindings, or run under them and under the double."""

# every line that ends so is wrong
WRONG = """
import tensorrt as trt

def good(log: trt.ILogger, config: trt.IBuilderConfig, data: bytes) -> bytes | None:
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=1 << 20)
    engine = trt.Runtime(log).deserialize_cuda_engine(data)
    plan = trt.Builder(log).build_serialized_network(
        trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)),
        config,
    )
    return bytes(plan) if engine is not None and plan is not None else None

def bad(config: trt.IBuilderConfig, context: trt.IExecutionContext, log: trt.ILogger) -> None:
    config.set_flag(trt.BuilderFlag.VERSION_COMPATIBEL)  # wrong
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit=1)  # wrong
    config.set_memory_pool_limit("workspace", 1)  # wrong
    config.max_workspace_size = 1 << 30  # wrong
    context.execute_async_v2([], 0)  # wrong
    context.execute_async_v3("stream")  # wrong
    trt.Runtime(log).deserialize_cuda_engine(b"").create_execution_context()  # wrong
    trt.OnnxParser(log)  # wrong
    1 << trt.BuilderFlag.TF32  # wrong
"""
RTX_WRONG = """
import tensorrt_rtx_bindings as trt

def bad(config: trt.IBuilderConfig, engine: trt.ICudaEngine, runtime: trt.Runtime) -> None:
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    config.set_compute_capability(trt.ComputeCapability.SM90, 0)  # wrong
    config.set_compute_capability("SM86", 0)  # wrong
    config.num_capabilities = 1  # wrong
    runtime.is_valid(b"")  # wrong
    made = engine.create_runtime_config()
    made.cuda_graph_strategy = 1  # wrong
    made.create_runtime_cache().deserialize("cache")  # wrong
    engine.create_execution_context(made).execute_async_v3(0)  # wrong
"""
REMOVED = """
import tensorrt as trt

trt.BuilderFlag.FP16  # wrong
"""
VALUES = """
import json
import tensorrt as trt
from tensorrt import Dims, DataType, ILogger, IOutputAllocator, BuilderFlag
from tensorrt import NetworkDefinitionCreationFlag

class Uninitialised(ILogger):
    def __init__(self): pass

class Allocator(IOutputAllocator):
    def __init__(self): pass

def told(text):
    try:
        return repr(eval(text)).replace("tensorrt_bindings.", "")
    except Exception as error:
        return type(error).__name__

print(json.dumps({text: told(text) for text in ASKED}))
"""
EXPRESSIONS = """
trt.__version__
Dims()
Dims([1, -1])
Dims((1, 2)) == (1, 2)
Dims((1, 2)) == [1, 2]
Dims((1, 2)) != (1, 3)
Dims((1, 2)) == Dims((1, 2))
Dims((1, 2)) == 1
hash(Dims())
len(Dims((3, 4)))
tuple(Dims((3, 4)))
Dims((3, 4))[-1]
Dims((3, 4))[0:1]
Dims((3, 4))[2]
Dims(Dims((3, 4)))
Dims(range(8))
Dims(range(9))
Dims((1.5,))
Dims(1)
1 << BuilderFlag.TF32
BuilderFlag(5)
BuilderFlag.TF32 < BuilderFlag.REFIT
BuilderFlag.TF32 == 6
BuilderFlag.TF32.name, BuilderFlag.TF32.value, str(BuilderFlag.TF32)
{BuilderFlag.TF32: 1}[BuilderFlag(6)]
isinstance(BuilderFlag.TF32, int)
1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
ILogger.Severity.ERROR <= ILogger.Severity.INFO
ILogger.Severity.ERROR <= 1
ILogger.ERROR is ILogger.Severity.ERROR
[(name, int(one)) for name, one in ILogger.Severity.__members__.items()]
trt.Logger.WARNING
trt.Logger().min_severity
trt.Logger(trt.Logger.INFO).min_severity
ILogger().log(ILogger.ERROR, "")
DataType.FLOAT < DataType.HALF
DataType.FLOAT == 0
DataType.HALF.itemsize, DataType.INT64.itemsize, DataType.INT4.itemsize
trt.nptype(DataType.FLOAT), trt.nptype(DataType.HALF), trt.nptype(DataType.BOOL)
trt.nptype(DataType.INT8), trt.nptype(DataType.INT32), trt.nptype(DataType.INT64)
trt.nptype(DataType.UINT8)
trt.nptype(DataType.BF16)
trt.volume((2, 3)), trt.volume(())
Uninitialised()
Allocator()
hasattr(IOutputAllocator, "notify_shape")
trt.Builder(None)
trt.Runtime("log")
"""
RTX_HELPERS = """
import onnx

LOG = trt.Logger(trt.Logger.INTERNAL_ERROR)

def config():
    return trt.Builder(LOG).create_builder_config()

def capabilities(*names):
    made = config()
    made.num_compute_capabilities = len(names)
    return [
        (made.set_compute_capability(trt.ComputeCapability.__members__[name], number),
         made.get_compute_capability(number))
        for number, name in enumerate(names)
    ]

def built(*names):
    builder = trt.Builder(LOG)
    network, made = builder.create_network(), builder.create_builder_config()
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[2, 3] x) => (float[2, 3] y) '
        '{ y = Mul(x, x) }'
    )
    assert trt.OnnxParser(network, LOG).parse(model.SerializeToString())
    made.num_compute_capabilities = len(names)
    for number, name in enumerate(names):
        made.set_compute_capability(trt.ComputeCapability.__members__[name], number)
    return builder.build_serialized_network(network, made)

def validity(size, *names):
    return trt.Runtime(LOG).get_engine_validity(bytes(built(*names))[:size])
"""
RTX_EXPRESSIONS = """
trt.ComputeCapability.SM86
trt.ComputeCapability.SM86 < trt.ComputeCapability.SM89
trt.CudaGraphStrategy.DISABLED < trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
trt.EngineInvalidityDiagnostics.CUDA_ERROR < trt.EngineInvalidityDiagnostics.VERSION_MISMATCH
trt.EngineValidity.VALID < trt.EngineValidity.INVALID
trt.Builder(trt.Logger()).create_network(0) is None
trt.Builder(trt.Logger()).create_network(1) is None
trt.Builder(trt.Logger()).create_network(2) is None
capabilities("SM86")
capabilities("SM86", "SM120")
capabilities("SM86", "SM86")
capabilities("CURRENT")
capabilities("CURRENT", "SM86")
capabilities("NONE")
config().set_compute_capability(trt.ComputeCapability.SM86, 0)
config().get_compute_capability(0)
config().num_compute_capabilities
setattr(config(), "num_compute_capabilities", -1)
config().builder_optimization_level
config().profiling_verbosity
trt.Runtime(trt.Logger()).engine_header_size
trt.Runtime(trt.Logger()).get_engine_validity(b"")
trt.Runtime(trt.Logger()).get_engine_validity(b"damaged" * 100)
trt.Runtime(trt.Logger()).deserialize_cuda_engine(b"damaged" * 100)
validity(None)
validity(None, "SM86", "SM120")
validity(1000)
validity(64)
validity(63)
built("CURRENT")
built("NONE")
"""
OF_ITS_OWN = """
class Builder:
    def __init__(self, logger):
        self.own = logger
        self._private = logger

    def build(self, network): ...
    def create_network(self, flags, typed): ...
    def build_serialized_network(self, network, config): ...

class Dims:
    FEW = 3
    MAX_DIMS = 8
"""

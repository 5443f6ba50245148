/* What pycuda needs to load and the simulator does not do: kernels, arrays, textures, other
 * processes' memory. Without cuda.h, so that one signature is enough. */
#define NOT_SUPPORTED 801
#define STUB(name) \
    __attribute__((visibility("default"))) int name(void) { return NOT_SUPPORTED; }

STUB(cuArray3DCreate_v2) STUB(cuArray3DGetDescriptor_v2) STUB(cuArrayCreate_v2) STUB(cuArrayDestroy)
STUB(cuArrayGetDescriptor_v2) STUB(cuCtxDisablePeerAccess) STUB(cuCtxEnablePeerAccess)
STUB(cuCtxGetSharedMemConfig) STUB(cuCtxSetSharedMemConfig) STUB(cuFuncGetAttribute)
STUB(cuFuncSetAttribute) STUB(cuFuncSetBlockShape) STUB(cuFuncSetCacheConfig)
STUB(cuFuncSetSharedSize) STUB(cuIpcCloseMemHandle) STUB(cuIpcGetEventHandle)
STUB(cuIpcGetMemHandle) STUB(cuIpcOpenEventHandle) STUB(cuIpcOpenMemHandle_v2) STUB(cuLaunch)
STUB(cuLaunchGrid) STUB(cuLaunchGridAsync) STUB(cuLaunchKernel) STUB(cuLinkAddData_v2)
STUB(cuLinkAddFile_v2) STUB(cuLinkComplete) STUB(cuLinkCreate_v2) STUB(cuLinkDestroy)
STUB(cuMemAllocManaged) STUB(cuMemcpy3DPeer) STUB(cuMemcpy3DPeerAsync) STUB(cuMemcpyAtoA_v2)
STUB(cuMemcpyAtoD_v2) STUB(cuMemcpyAtoH_v2) STUB(cuMemcpyDtoA_v2) STUB(cuMemcpyHtoA_v2)
STUB(cuModuleGetFunction) STUB(cuModuleGetGlobal_v2) STUB(cuModuleGetSurfRef)
STUB(cuModuleGetTexRef) STUB(cuModuleLoad) STUB(cuModuleUnload) STUB(cuParamSetSize)
STUB(cuParamSetTexRef) STUB(cuParamSetf) STUB(cuParamSeti) STUB(cuParamSetv)
STUB(cuProfilerInitialize) STUB(cuProfilerStart) STUB(cuProfilerStop) STUB(cuStreamAttachMemAsync)
STUB(cuSurfRefGetArray) STUB(cuSurfRefSetArray) STUB(cuTexRefCreate) STUB(cuTexRefDestroy)
STUB(cuTexRefGetAddressMode) STUB(cuTexRefGetAddress_v2) STUB(cuTexRefGetArray)
STUB(cuTexRefGetFilterMode) STUB(cuTexRefGetFlags) STUB(cuTexRefGetFormat)
STUB(cuTexRefSetAddress2D_v3) STUB(cuTexRefSetAddressMode) STUB(cuTexRefSetAddress_v2)
STUB(cuTexRefSetArray) STUB(cuTexRefSetFilterMode) STUB(cuTexRefSetFlags) STUB(cuTexRefSetFormat)

/* Modules: refused, since there are no kernels here, and counted by what they were compiled for. */
#include "driver.h"

#include <elf.h>
#include <stdio.h>

/* A cubin's flags name it, in the second byte since version 8 of the format. */
static unsigned architecture(const Elf64_Ehdr *cubin)
{
    return (cubin->e_ident[EI_ABIVERSION] < 8 ? cubin->e_flags : cubin->e_flags >> 8) & 0xFF;
}

/* "cubin sm_86", "ptx sm_89", or "module" for what is neither. PTX is text with a zero at its end,
 * other formats have a zero byte early. */
static void describe(char *text, size_t size, const char *image)
{
    char target[16];
    const char *line = strstr(image, ".target ");
    if (!strncmp(image, ELFMAG, SELFMAG))
        snprintf(text, size, "cubin sm_%u", architecture((const Elf64_Ehdr *)image));
    else if (line && sscanf(line, ".target %15[a-z0-9_]", target) == 1)
        snprintf(text, size, "ptx %s", target);
    else snprintf(text, size, "module");
}

static CUresult refuse(const void *image)
{
    char text[32];
    if (!image) return CUDA_ERROR_INVALID_VALUE;
    describe(text, sizeof text, image);
    CUresult failure = count(text);
    return failure ? failure : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    CALL(CONTEXT);
    (void)module;
    return refuse(image);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned number,
                            CUjit_option *options, void **values)
{
    CALL(CONTEXT);
    (void)module;
    for (unsigned i = 0; i < number; i++) { /* the logs of a compiler that has nothing to say */
        if (options[i] == CU_JIT_INFO_LOG_BUFFER || options[i] == CU_JIT_ERROR_LOG_BUFFER)
            *(char *)values[i] = 0;
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES
            || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = NULL; /* the size that is used */
    }
    return refuse(image);
}

// kernels/cuda/fatbin.c: embeds the file WEIR_CUDA_FATBIN. The assembler reads it, so that no text
// of hundreds of kilobytes is compiled.
#include "kernels/cuda/fatbin.h"

__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl weir_k_cuda_fatbin\n"
        ".hidden weir_k_cuda_fatbin\n"
        "weir_k_cuda_fatbin:\n"
        ".incbin \"" WEIR_CUDA_FATBIN "\"\n"
        ".byte 0\n"
        ".popsection\n");

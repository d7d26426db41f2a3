# Is there a CUDA toolkit? Sets WEIR_CUDA_INCLUDE (headers of the toolkit and of cuDNN) and WEIR_NVCC, or says
# in one line why the CUDA plugin is left out. Nothing of it is linked: the plugin loads what it finds.
option(WEIR_CUDA "Build the CUDA plugin where a CUDA toolkit is found" ON)
# What the own kernels are built for, as nvcc names it: sm_* is code, compute_* is PTX for what comes later.
set(WEIR_CUDA_ARCHS "sm_90a;compute_80" CACHE STRING "Architectures of the own CUDA kernels")

set(WEIR_CUDA_INCLUDE "")
if(WEIR_CUDA)
    find_package(CUDAToolkit 12.4 QUIET)
    if(NOT CUDAToolkit_FOUND OR NOT CUDAToolkit_NVCC_EXECUTABLE)
        message(STATUS "CUDA plugin: left out, there is no CUDA toolkit (12.4 or newer, with nvcc)")
    else()
        find_path(WEIR_CUDNN_INCLUDE cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
        if(WEIR_CUDNN_INCLUDE)
            set(WEIR_CUDA_INCLUDE ${CUDAToolkit_INCLUDE_DIRS} ${WEIR_CUDNN_INCLUDE})
            set(WEIR_NVCC ${CUDAToolkit_NVCC_EXECUTABLE})
        else()
            message(STATUS "CUDA plugin: left out, there are no headers of cuDNN 9 (cudnn_graph.h)")
        endif()
    endif()
endif()

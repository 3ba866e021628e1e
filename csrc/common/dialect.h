// What g++ and nvcc must agree on. No torch, no launches.
#pragma once

#if defined(__CUDACC__)
#define FREQKIT_HD __host__ __device__
#define FREQKIT_INLINE __forceinline__
#else
#define FREQKIT_HD
#define FREQKIT_INLINE inline __attribute__((always_inline))
#endif

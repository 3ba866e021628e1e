// What g++ and nvcc must agree on. No torch, no launches.
#pragma once

#if defined(__CUDACC__)
#define FREQKIT_HD __host__ __device__
#define FREQKIT_INLINE __forceinline__
#define FREQKIT_LAMBDA
#else
#define FREQKIT_HD
#define FREQKIT_INLINE inline __attribute__((always_inline))
#define FREQKIT_LAMBDA __attribute__((always_inline))  // without it g++ leaves codelets as calls
#endif

// What g++ and nvcc must agree on. No torch, no launches.
//
// Three readers: g++ for the CPU operators (FREQKIT_HD only), nvcc for the kernels, and g++ again with
// FREQKIT_EMULATED, which runs the unmodified kernel text on the CPU (tests/emulator/shim.h).
//
// The dialect of a kernel file: threadIdx, blockIdx, blockDim, gridDim, __syncthreads, __syncwarp,
// __shfl_*_sync,
// __ballot_sync, __brev, atomicAdd, DYNAMIC_SHARED(T, name), standard maths, and the accessors below for
// every read and write of global and shared memory, so that the emulator can count them. No <<<>>>, torch,
// CUB, cooperative groups, inline PTX, static __shared__ or __constant__.
#pragma once

#if defined(__CUDACC__)
#define FREQKIT_HD __host__ __device__
#define FREQKIT_INLINE __forceinline__
#define FREQKIT_LAMBDA
#elif defined(FREQKIT_EMULATED)
#define FREQKIT_HD
#define FREQKIT_INLINE inline  // compile time matters there, speed does not
#define FREQKIT_LAMBDA
#else
#define FREQKIT_HD
#define FREQKIT_INLINE inline __attribute__((always_inline))
#define FREQKIT_LAMBDA __attribute__((always_inline))  // without it g++ leaves codelets as calls
#endif

// Stops at what cannot be: a table and a switch that do not agree.
#if defined(__CUDA_ARCH__)
#define FREQKIT_TRAP() __trap()
#else
#define FREQKIT_TRAP() __builtin_trap()
#endif

#if defined(FREQKIT_EMULATED)
#include "shim.h"
#elif defined(__CUDACC__)
#include <cstring>

// Dynamic shared memory of the block, one typed view of it.
#define DYNAMIC_SHARED(T, name)                               \
  extern __shared__ __align__(16) unsigned char shared_raw[]; \
  T* name = reinterpret_cast<T*>(shared_raw)

namespace freqkit {

template <int BYTES>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

// Each accessor moves its value by one instruction of its size (1, 2, 4, 8 or 16 bytes, naturally aligned).
// Global memory that nobody writes while the kernel runs.
template <class T>
__device__ FREQKIT_INLINE T load_const(const T* address) {
  using W = typename Word<sizeof(T)>::type;
  const W word = __ldg(reinterpret_cast<const W*>(address));
  T value;
  memcpy(&value, &word, sizeof(T));
  return value;
}
// The same when `word & bits`, else zero bits; nothing is read then. In PTX, because the compiler turns a load behind
// an `if` into a branch and works the address out anew in each.
__device__ FREQKIT_INLINE unsigned load_word_if(unsigned word, unsigned bits, const unsigned* address) {
  unsigned w;
  asm("{ .reg .pred p; .reg .u32 t; and.b32 t, %2, %3; setp.ne.u32 p, t, 0; mov.u32 %0, 0;\n\t"
      "@p ld.global.nc.u32 %0, [%1]; }"
      : "=r"(w)
      : "l"(__cvta_generic_to_global(address)), "r"(word), "r"(bits));
  return w;
}
__device__ FREQKIT_INLINE uint2 load_word_if(unsigned word, unsigned bits, const uint2* address) {
  uint2 w;
  asm("{ .reg .pred p; .reg .u32 t; and.b32 t, %3, %4; setp.ne.u32 p, t, 0; mov.u32 %0, 0; mov.u32 %1, 0;\n\t"
      "@p ld.global.nc.v2.u32 {%0, %1}, [%2]; }"
      : "=r"(w.x), "=r"(w.y)
      : "l"(__cvta_generic_to_global(address)), "r"(word), "r"(bits));
  return w;
}
template <class W>
__device__ FREQKIT_INLINE W load_word_if(unsigned word, unsigned bits, const W* address) {
  W w{};
  if ((word & bits) != 0) w = __ldg(address);
  return w;
}
template <class T>
__device__ FREQKIT_INLINE T load_const_if_bit(unsigned word, int bit, const T* address) {
  using W = typename Word<sizeof(T)>::type;
  const W loaded = load_word_if(word, 1u << bit, reinterpret_cast<const W*>(address));
  T value;
  memcpy(&value, &loaded, sizeof(T));
  return value;
}
template <class T>
__device__ FREQKIT_INLINE T load_const_if(bool wanted, const T* address) {
  return load_const_if_bit(unsigned(wanted), 0, address);
}
template <class T>
__device__ FREQKIT_INLINE T load_global(const T* address) {
  using W = typename Word<sizeof(T)>::type;
  const W word = *reinterpret_cast<const W*>(address);
  T value;
  memcpy(&value, &word, sizeof(T));
  return value;
}
template <class T>
__device__ FREQKIT_INLINE void store_global(T* address, const T& value) {
  using W = typename Word<sizeof(T)>::type;
  W word;
  memcpy(&word, &value, sizeof(T));
  *reinterpret_cast<W*>(address) = word;
}
// A store of results nobody reads again soon: first to leave the L2 cache.
template <class T>
__device__ FREQKIT_INLINE void store_streaming(T* address, const T& value) {
  using W = typename Word<sizeof(T)>::type;
  W word;
  memcpy(&word, &value, sizeof(T));
  __stcs(reinterpret_cast<W*>(address), word);
}
template <class T>
__device__ FREQKIT_INLINE T load_shared(const T* address) {
  return load_global(address);
}
template <class T>
__device__ FREQKIT_INLINE void store_shared(T* address, const T& value) {
  store_global(address, value);
}
// Work memory that is shared where it fits and global where it does not.
template <bool SHARED, class T>
__device__ FREQKIT_INLINE T load_buffer(const T* address) {
  return load_global(address);
}
template <bool SHARED, class T>
__device__ FREQKIT_INLINE void store_buffer(T* address, const T& value) {
  store_global(address, value);
}

}  // namespace freqkit
#endif

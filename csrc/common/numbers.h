// The element types that images come in and go out as, read and written by their run-time type.
#pragma once

#include <cstdint>
#include <cstring>

#include "dialect.h"
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace freqkit {

enum class Number : int { f32, f64, f16, bf16 };

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
template <class E>
struct alignas(2 * sizeof(E)) Pair {
  E first, second;
};

FREQKIT_HD FREQKIT_INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
FREQKIT_HD FREQKIT_INLINE float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

template <class E, class T>
FREQKIT_HD FREQKIT_INLINE E narrow(T value) {
  return E(value);
}
// Round to nearest even; a NaN stays one.
template <>
FREQKIT_HD FREQKIT_INLINE BFloat16 narrow<BFloat16, float>(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t(bits >> 16 | 0x40u)};
  return {uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}
template <>
FREQKIT_HD FREQKIT_INLINE Half narrow<Half, float>(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#else
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
  if (magnitude > 0x7f800000u) return {uint16_t(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {uint16_t(sign | 0x7c00u)};  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 1/2 leaves the value, rounded to nearest even, in the low bits.
    const float sum = float_of(magnitude) + 0.5f;
    return {uint16_t(sign | (bits_of(sum) - 0x3f000000u))};
  }
  return {uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13))};
#endif
}
template <>
FREQKIT_HD FREQKIT_INLINE BFloat16 narrow<BFloat16, double>(double value) {
  return narrow<BFloat16>(float(value));
}
template <>
FREQKIT_HD FREQKIT_INLINE Half narrow<Half, double>(double value) {
  return narrow<Half>(float(value));
}

FREQKIT_HD FREQKIT_INLINE float widen(float value) { return value; }
FREQKIT_HD FREQKIT_INLINE double widen(double value) { return value; }
FREQKIT_HD FREQKIT_INLINE float widen(BFloat16 value) { return float_of(uint32_t(value.bits) << 16); }
FREQKIT_HD FREQKIT_INLINE float widen(Half value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  const uint32_t sign = uint32_t(value.bits & 0x8000u) << 16, magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude < 0x400u) return float_of(sign | bits_of(float(magnitude) * 5.9604644775390625e-8f));
  return float_of(sign | ((magnitude << 13) + 0x38000000u));
#endif
}

constexpr int bytes_of(Number type) { return type == Number::f64 ? 8 : type == Number::f32 ? 4 : 2; }

#if defined(__CUDACC__) || defined(FREQKIT_EMULATED)

template <class T>
__device__ FREQKIT_INLINE T load_number(const void* base, Number type, int64_t index) {
  switch (type) {
    case Number::f32: return T(load_const(static_cast<const float*>(base) + index));
    case Number::f64: return T(load_const(static_cast<const double*>(base) + index));
    case Number::f16: return T(widen(load_const(static_cast<const Half*>(base) + index)));
    default: return T(widen(load_const(static_cast<const BFloat16*>(base) + index)));
  }
}

template <class E, class T>
__device__ FREQKIT_INLINE void store_two(void* base, int64_t index, int64_t step, int count, T first, T second) {
  E* const at = static_cast<E*>(base) + index;
  if (step == 0) {  // adjacent and aligned
    store_streaming(reinterpret_cast<Pair<E>*>(at), Pair<E>{narrow<E>(first), narrow<E>(second)});
  } else {
    store_streaming(at, narrow<E>(first));
    if (count == 2) store_streaming(at + step, narrow<E>(second));
  }
}
// first to `index`, second `step` elements further (if count is 2); step 0 means one aligned store of the
// pair.
template <class T>
__device__ FREQKIT_INLINE void store_numbers(void* base, Number type, int64_t index, int64_t step, int count, T first,
                                             T second) {
  switch (type) {
    case Number::f32: return store_two<float>(base, index, step, count, first, second);
    case Number::f64: return store_two<double>(base, index, step, count, first, second);
    case Number::f16: return store_two<Half>(base, index, step, count, first, second);
    default: return store_two<BFloat16>(base, index, step, count, first, second);
  }
}

#endif

}  // namespace freqkit

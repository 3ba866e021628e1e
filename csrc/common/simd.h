// Lane vectors through the compiler's vector extension: one text for SSE2, AVX2, AVX-512 and NEON.
#pragma once

#include "dialect.h"

#ifndef FREQKIT_SIMD_NAMESPACE
#define FREQKIT_SIMD_NAMESPACE scalar
#endif

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {

template <class S>
FREQKIT_INLINE S smaller(S a, S b) {
  return a < b ? a : b;
}
template <class S>
FREQKIT_INLINE S larger(S a, S b) {
  return a < b ? b : a;
}

template <class S, int L>
struct Lanes {
  typedef S Vector __attribute__((vector_size(L * sizeof(S))));
  typedef S Unaligned __attribute__((vector_size(L * sizeof(S)), aligned(sizeof(S)), may_alias));
};

template <class S, int L>
using Vec = typename Lanes<S, L>::Vector;

template <int L, class S>
FREQKIT_INLINE Vec<S, L> load(const S* from) {
  return *reinterpret_cast<const typename Lanes<S, L>::Unaligned*>(from);
}
template <int L, class S>
FREQKIT_INLINE void store(S* to, const Vec<S, L>& value) {
  *reinterpret_cast<typename Lanes<S, L>::Unaligned*>(to) = value;
}

// A store past the caches, of data that nobody reads soon; `to` is aligned to its size. A plain store where the
// processor has no such thing. fence_streams() before another thread may read.
template <int L, class S>
FREQKIT_INLINE void store_streaming(S* to, const Vec<S, L>& value) {
#if defined(__AVX512F__)
  if constexpr (sizeof(value) == 64)
    return __builtin_ia32_movntps512(reinterpret_cast<float*>(to), Vec<float, 16>(value));
#endif
#if defined(__AVX__)
  if constexpr (sizeof(value) == 32)
    return __builtin_ia32_movntps256(reinterpret_cast<float*>(to), Vec<float, 8>(value));
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(value) == 16) return __builtin_ia32_movntps(reinterpret_cast<float*>(to), Vec<float, 4>(value));
#endif
  store<L>(to, value);
}
FREQKIT_INLINE void fence_streams() {
#if defined(__SSE2__)
  __builtin_ia32_sfence();
#endif
}

template <int... I>
struct Lane {};
template <int N, int... I>
struct MakeLane : MakeLane<N - 1, N - 1, I...> {};
template <int... I>
struct MakeLane<0, I...> {
  using type = Lane<I...>;
};

// Interleave the low (HIGH = 0) or high halves of each group of G lanes, in units of U lanes.
template <int G, int U, int HIGH, class V, int... I>
FREQKIT_INLINE V interleave(const V& a, const V& b, Lane<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b,
                                 (I / G * G + HIGH * G / 2 + (I % G) / (2 * U) * U + I % U + ((I / U) % 2) * n)...);
}
// Exchange blocks of D lanes between two vectors: the two halves of a block transpose.
template <int D, int HIGH, class V, int... I>
FREQKIT_INLINE V exchange(const V& a, const V& b, Lane<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I & D) ? n + (HIGH ? I : I - D) : (HIGH ? I + D : I))...);
}

template <class S, int L, int D>
FREQKIT_INLINE void exchange_blocks(Vec<S, L>* r) {
  if constexpr (D < L) {
    using Order = typename MakeLane<L>::type;
#pragma GCC unroll 64
    for (int i = 0; i < L; ++i)
      if (!(i & D)) {
        const Vec<S, L> a = r[i], b = r[i + D];
        r[i] = exchange<D, 0>(a, b, Order{});
        r[i + D] = exchange<D, 1>(a, b, Order{});
      }
    exchange_blocks<S, L, 2 * D>(r);
  }
}

// r[i][j] <- r[j][i], in registers.
template <class S, int L>
FREQKIT_INLINE void transpose(Vec<S, L>* r) {
  using Order = typename MakeLane<L>::type;
  if constexpr (L == 1) {
    return;
  } else if constexpr (sizeof(S) == 8 || L == 2) {  // 2 x 2 inside 128 bits
#pragma GCC unroll 64
    for (int i = 0; i < L; i += 2) {
      const Vec<S, L> a = r[i], b = r[i + 1];
      r[i] = interleave<2, 1, 0>(a, b, Order{});
      r[i + 1] = interleave<2, 1, 1>(a, b, Order{});
    }
    exchange_blocks<S, L, 2>(r);
  } else {  // 4 x 4 inside 128 bits
#pragma GCC unroll 64
    for (int i = 0; i < L; i += 4) {
      const Vec<S, L> a = interleave<4, 1, 0>(r[i], r[i + 1], Order{});
      const Vec<S, L> b = interleave<4, 1, 1>(r[i], r[i + 1], Order{});
      const Vec<S, L> c = interleave<4, 1, 0>(r[i + 2], r[i + 3], Order{});
      const Vec<S, L> d = interleave<4, 1, 1>(r[i + 2], r[i + 3], Order{});
      r[i] = interleave<4, 2, 0>(a, c, Order{});
      r[i + 1] = interleave<4, 2, 1>(a, c, Order{});
      r[i + 2] = interleave<4, 2, 0>(b, d, Order{});
      r[i + 3] = interleave<4, 2, 1>(b, d, Order{});
    }
    exchange_blocks<S, L, 4>(r);
  }
}

template <class V, int... I>
FREQKIT_INLINE V reversed(const V& a, Lane<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, a, (n - 1 - I)...);
}

}  // namespace FREQKIT_SIMD_NAMESPACE
}  // namespace freqkit

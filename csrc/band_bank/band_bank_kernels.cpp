// The CPU kernels of the bank; compiled once per instruction set, see spectral_filter_kernels.cpp.
#include "../common/simd.h"
#include "band_bank.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {
namespace {

constexpr int kAhead = 2;              // tiles; the hardware's prefetchers do not follow so many planes at once
constexpr int kTableBytes = 28 << 10;  // of a first-level cache of 32 KiB

// How many vectors wide a tile is: as wide as lets its tables stay in the first-level cache, but at least two, because
// the conversion to 16 bits is not vectorised over fewer numbers.
template <class S, int L>
int vectors(int cells) {
  int count = 8;
  while (count > 2 && bank_groups(cells) * kGroupRows * count * L * int(sizeof(S)) > kTableBytes) count /= 2;
  return count;
}

template <int L, class S>
FREQKIT_INLINE void store_past_caches(S* to, const Vec<S, L>& value) {
#if defined(__AVX512F__)
  if constexpr (sizeof(value) == 64) return _mm512_stream_si512((__m512i*)to, (__m512i)value);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(value) == 32) return _mm256_stream_si256((__m256i*)to, (__m256i)value);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(value) == 16) return _mm_stream_si128((__m128i*)to, (__m128i)value);
#endif
  store<L>(to, value);
}

// The tables of one tile: row 16 g + bits is the sum of the cells of group g whose bit is set. `count` elements exist.
template <int N, int L, class S>
FREQKIT_INLINE void fill_tables(const BankSums<S>& p, int64_t first, int count, S* tables) {
  using V = Vec<S, L>;
  constexpr int tile = N * L;
  for (int group = 0; group < bank_groups(p.cells); ++group) {
    S* const rows = tables + int64_t(group) * kGroupRows * tile;
    for (int v = 0; v < N; ++v) {
      V sum[kGroupRows];
      sum[0] = V{};
#pragma GCC unroll 4
      for (int i = 0; i < kGroupCells; ++i) {
        const int cell = group * kGroupCells + i;
        V value = {};
        if (cell < p.cells) {
          const S* const from = p.bank + cell * p.cell_stride + first + v * L;
          if (count == tile) {
            value = load<L>(from);
            // Into the second-level cache: the cells' planes often lie a multiple of 4096 bytes apart, in one set of
            // the first.
            __builtin_prefetch(from + kAhead * tile, 0, 2);
          } else
            for (int j = 0; j < L; ++j) value[j] = v * L + j < count ? from[j] : S(0);
        }
#pragma GCC unroll 8
        for (int row = 0; row < 1 << i; ++row) sum[(1 << i) + row] = sum[row] + value;
      }
#pragma GCC unroll 16
      for (int row = 0; row < kGroupRows; ++row) store<L>(rows + row * tile + v * L, sum[row]);
    }
  }
}

template <class E, class S, int N, int L, bool STREAMING>
FREQKIT_INLINE void write(E* to, const Vec<S, L> (&value)[N], int count) {
  constexpr int tile = N * L;
  if constexpr (sizeof(E) == sizeof(S)) {
    if (count == tile) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v)
        STREAMING ? store_past_caches<L>(to + v * L, value[v]) : store<L>(to + v * L, value[v]);
      return;
    }
  }
  alignas(64) S numbers[tile];
  alignas(64) E narrowed[tile];
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) store<L>(numbers + v * L, value[v]);
  for (int i = 0; i < tile; ++i) narrowed[i] = narrow<E>(numbers[i]);
  if (count == tile) {
    constexpr int bytes = tile * int(sizeof(E)), widest = L * int(sizeof(S)), chunk = bytes < widest ? bytes : widest;
    const char* const from = reinterpret_cast<const char*>(narrowed);
#pragma GCC unroll 8
    for (int i = 0; i < bytes; i += chunk) {
      char* const at = reinterpret_cast<char*>(to) + i;
      STREAMING ? store_past_caches<chunk>(at, load<chunk>(from + i)) : store<chunk>(at, load<chunk>(from + i));
    }
    return;
  }
  for (int i = 0; i < count; ++i) to[i] = narrowed[i];
}

template <class E, int N, int L, bool STREAMING, class S>
void sums_of(const BankSums<S>& p, int64_t first, int64_t count, S* __restrict tables) {
  using V = Vec<S, L>;
  constexpr int tile = N * L;
  const int groups = bank_groups(p.cells);
  for (int64_t at = first; at < first + count; at += tile) {
    const int here = int(first + count - at < tile ? first + count - at : tile);
    fill_tables<N, L>(p, at, here, tables);
    E* to = static_cast<E*>(p.out) + at;
    const uint16_t* __restrict rows = p.rows;
    for (int64_t k = 0; k < p.masks; ++k, rows += groups, to += p.mask_stride) {
      V sum[N];
      const S* from = tables + int64_t(rows[0]) * tile;
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[v] = load<L>(from + v * L);
      for (int g = 1; g < groups; ++g) {
        from = tables + int64_t(rows[g]) * tile;
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[v] += load<L>(from + v * L);
      }
      write<E, S, N, L, STREAMING>(to, sum, here);
    }
  }
#if defined(__SSE2__)
  if (STREAMING) _mm_sfence();
#endif
}

template <class E, int L, bool STREAMING, class S>
void sums_as(const BankSums<S>& p, int64_t first, int64_t count, S* tables) {
  switch (vectors<S, L>(p.cells)) {
    case 8: return sums_of<E, 8, L, STREAMING>(p, first, count, tables);
    case 4: return sums_of<E, 4, L, STREAMING>(p, first, count, tables);
    default: return sums_of<E, 2, L, STREAMING>(p, first, count, tables);
  }
}

template <class E, int L, class S>
void sums_to(const BankSums<S>& p, int64_t first, int64_t count, S* tables) {
  p.streaming ? sums_as<E, L, true>(p, first, count, tables) : sums_as<E, L, false>(p, first, count, tables);
}

template <class S, int L>
void sums(const BankSums<S>& p, int64_t first, int64_t count, S* tables) {
  switch (p.type) {
    case Number::f32: return sums_to<float, L>(p, first, count, tables);
    case Number::f64: return sums_to<double, L>(p, first, count, tables);
    case Number::f16: return sums_to<Half, L>(p, first, count, tables);
    case Number::bf16: return sums_to<BFloat16, L>(p, first, count, tables);
  }
}

template <class S, int L>
int tile_of(int cells) {
  return vectors<S, L>(cells) * L;
}

template <class S, int L>
int64_t scratch_size(int cells) {
  return int64_t(bank_groups(cells)) * kGroupRows * tile_of<S, L>(cells);
}

template <class S>
const BankKernels<S>* table() {
  constexpr int L = FREQKIT_LANE_BYTES / int(sizeof(S));
  static const BankKernels<S> kernels = {tile_of<S, L>, scratch_size<S, L>, sums<S, L>};
  return &kernels;
}

}  // namespace
}  // namespace FREQKIT_SIMD_NAMESPACE

#define FREQKIT_JOIN_(a, b) a##b
#define FREQKIT_JOIN(a, b) FREQKIT_JOIN_(a, b)
template <>
const BankKernels<float>* FREQKIT_JOIN(FREQKIT_SIMD_NAMESPACE, _bank_kernels)<float>() {
  return table<float>();
}
template <>
const BankKernels<double>* FREQKIT_JOIN(FREQKIT_SIMD_NAMESPACE, _bank_kernels)<double>() {
  return table<double>();
}

}  // namespace freqkit

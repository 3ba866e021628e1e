// Kernels of the bank: y[k] = sum over the cells on in mask k of bank[cell], on any device.
//
// A block holds one tile of all cells' images in shared memory and passes over up to kBankMaskBlock masks. Its threads
// stand in teams; a team has the tile's width, and each of its threads holds the sums of kBankMasks masks in registers,
// so that a value read from shared memory serves them all. A mask's bits are the same for a whole team: each is one
// predicate for the additions of a thread's elements, so a thread adds P*kBankMasks times (P cells) whatever is on.
#pragma once

#include "../common/launch.h"
#include "../common/numbers.h"
#include "band_bank.h"

namespace freqkit::device {

constexpr int kBankTeam = 64;  // threads along a tile
constexpr int kBankTeams = kThreads / kBankTeam;
constexpr int kBankMasks = 8;        // of a thread at a time
constexpr int kBankUnroll = 4;       // cells; their number is padded to a multiple of it
constexpr int kBankMaskBlock = 512;  // of a block: the bank is read once for so many
constexpr int64_t kBankMasksPerLaunch = 1 << 20;

// Of one thread: 16 bytes.
template <class T>
constexpr int kBankWidth = 16 / int(sizeof(T));
template <class T>
constexpr int kBankTile = kBankTeam * kBankWidth<T>;

template <class E, int N>
struct alignas(N * sizeof(E)) Several {
  E value[N];
};

struct BankWords {
  const unsigned char* bits;  // [masks][mask_bytes]
  const int32_t* cells;       // [count]: number of each cell's bit
  uint32_t* words;            // [masks][words]: bit i of word w is cell 32 w + i
  int64_t masks;
  int count, mask_bytes, words_per_mask;
};

__global__ void __launch_bounds__(kThreads) bank_words_kernel(BankWords p) {
  const int64_t total = p.masks * p.words_per_mask;
  for (int64_t at = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; at < total; at += int64_t(gridDim.x) * blockDim.x) {
    const int64_t mask = at / p.words_per_mask;
    const int first = int(at % p.words_per_mask) * 32;
    uint32_t word = 0;
    for (int i = 0; i < 32; ++i) {
      const bool there = first + i < p.count;
      const int position = load_const_if(there, p.cells + first + i);
      const bool inside = there && position >= 0 && position / 8 < p.mask_bytes;  // the host cannot look at them
      const unsigned char byte = load_const_if(inside, p.bits + mask * p.mask_bytes + position / 8);
      word |= bank_bit(byte, position) << i;
    }
    store_global(p.words + at, word);
  }
}

template <class T>
struct BankSum {
  const T* bank;          // cell c's elements at c*cell_stride
  const uint32_t* words;  // [masks][words_per_mask]
  void* out;              // mask k's elements at k*mask_stride
  int64_t elements, cell_stride, mask_stride, masks;
  int cells, words_per_mask;
};

// Element j of a thread in its tile: side by side where whole vectors are moved, else a team's width apart.
template <class T, bool VECTORS>
__device__ FREQKIT_INLINE int bank_element(int lane, int j) {
  return VECTORS ? kBankWidth<T> * lane + j : lane + kBankTeam * j;
}

template <class T, bool VECTORS>
__device__ FREQKIT_INLINE Several<T, kBankWidth<T>> bank_values(const BankSum<T>& p, int cell, int64_t first,
                                                                int lane) {
  constexpr int N = kBankWidth<T>;
  Several<T, N> values;
  const T* const from = p.bank + cell * p.cell_stride + first;
  if constexpr (VECTORS) {
    values = load_const_if(first + N * lane < p.elements, reinterpret_cast<const Several<T, N>*>(from) + lane);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int e = bank_element<T, false>(lane, j);
      values.value[j] = load_const_if(first + e < p.elements, from + e);
    }
  }
  return values;
}

// SHARED: the tile of the bank fits shared memory; else it is read from global memory for every few masks.
// VECTORS: every row of bank and out is aligned to 16 bytes of T and as many numbers of E.
template <class T, class E, bool VECTORS, bool SHARED>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 ? 3 : 2) bank_sum_kernel(BankSum<T> p) {
  using Values = Several<T, kBankWidth<T>>;
  constexpr int N = kBankWidth<T>, tile = kBankTile<T>;
  DYNAMIC_SHARED(Values, bank);  // [cells][kBankTeam]
  const int lane = int(threadIdx.x) % kBankTeam, team = int(threadIdx.x) / kBankTeam;
  const int64_t tiles = (p.elements + tile - 1) / tile, mask_blocks = (p.masks + kBankMaskBlock - 1) / kBankMaskBlock;
  for (int64_t item = blockIdx.x; item < tiles * mask_blocks; item += gridDim.x) {
    const int64_t first = item / mask_blocks * tile, first_mask = item % mask_blocks * kBankMaskBlock;
    const int64_t end = first_mask + kBankMaskBlock < p.masks ? first_mask + kBankMaskBlock : p.masks;
    if constexpr (SHARED) {
      for (int cell = team; cell < p.cells; cell += kBankTeams)
        store_shared(bank + cell * kBankTeam + lane, bank_values<T, VECTORS>(p, cell, first, lane));
      __syncthreads();
    }
    for (int64_t mask = first_mask + team * kBankMasks; mask < end; mask += kBankTeams * kBankMasks) {
      T sum[kBankMasks][N] = {};
      for (int w = 0; w < p.words_per_mask; ++w) {
        uint32_t word[kBankMasks];
#pragma unroll
        for (int m = 0; m < kBankMasks; ++m)
          word[m] = load_const_if(mask + m < end, p.words + (mask + m) * p.words_per_mask + w);
        const int cells = p.cells - 32 * w < 32 ? p.cells - 32 * w : 32;
        for (int c = 0; c < cells; c += kBankUnroll) {
#pragma unroll
          for (int i = 0; i < kBankUnroll; ++i) {
            const int cell = 32 * w + c + i;
            Values values;
            if constexpr (SHARED)
              values = load_shared(bank + cell * kBankTeam + lane);
            else
              values = bank_values<T, VECTORS>(p, cell < p.cells ? cell : 0, first, lane);
#pragma unroll
            for (int m = 0; m < kBankMasks; ++m)
              if ((word[m] >> i & 1u) != 0) {
#pragma unroll
                for (int j = 0; j < N; ++j) sum[m][j] += values.value[j];
              }
          }
#pragma unroll
          for (int m = 0; m < kBankMasks; ++m) word[m] >>= kBankUnroll;
        }
      }
#pragma unroll
      for (int m = 0; m < kBankMasks; ++m) {
        if (mask + m >= end) break;
        E* const to = static_cast<E*>(p.out) + (mask + m) * p.mask_stride + first;
        if constexpr (VECTORS) {
          Several<E, N> narrowed;
#pragma unroll
          for (int j = 0; j < N; ++j) narrowed.value[j] = narrow<E>(sum[m][j]);
          if (first + N * lane < p.elements) store_streaming(reinterpret_cast<Several<E, N>*>(to) + lane, narrowed);
        } else {
#pragma unroll
          for (int j = 0; j < N; ++j) {
            const int e = bank_element<T, false>(lane, j);
            if (first + e < p.elements) store_streaming(to + e, narrow<E>(sum[m][j]));
          }
        }
      }
    }
    if constexpr (SHARED) __syncthreads();
  }
}

// ---- launches -------------------------------------------------------------------------------------------------------

// All that follows from the sizes of a call.
struct BankGeometry {
  int words_per_mask = 0;
  int64_t masks_per_launch = 0;
  size_t bytes = 0;         // of work memory: the words of a launch's masks
  size_t shared_bytes = 0;  // 0 where the tile does not fit
};

inline BankGeometry bank_geometry(int64_t cells, int64_t masks, size_t shared_limit) {
  BankGeometry g;
  g.words_per_mask = int((cells + 31) / 32);
  g.masks_per_launch = std::clamp<int64_t>(kBankMasksPerLaunch / g.words_per_mask, 1, std::max<int64_t>(masks, 1));
  g.bytes = size_t(g.masks_per_launch) * g.words_per_mask * sizeof(uint32_t);
  const size_t wanted = size_t((cells + kBankUnroll - 1) / kBankUnroll * kBankUnroll) * kBankTeam * 16;
  g.shared_bytes = wanted <= shared_limit ? wanted : 0;
  return g;
}

inline Shape bank_shape(const BankGeometry& g, int64_t tile, int64_t elements, int64_t masks) {
  Shape shape;
  const int64_t mask_blocks = (masks + kBankMaskBlock - 1) / kBankMaskBlock, tiles = (elements + tile - 1) / tile;
  shape.blocks = unsigned(tiles > kMaxBlocks / mask_blocks ? kMaxBlocks : tiles * mask_blocks);
  shape.shared_bytes = g.shared_bytes;
  return shape;
}

template <class T>
struct BankArguments {
  const T* bank;
  int64_t cells, elements, cell_stride;
  const unsigned char* bits;  // [masks][mask_bytes]
  const int32_t* cell_bits;   // [cells]
  int64_t masks, mask_bytes;
  void* out;
  Number type;
  int64_t mask_stride;
};

template <class T, class E, class Launch>
void bank_sum_as(Launch&& launch, const BankGeometry& g, const Shape& shape, const BankSum<T>& p) {
  constexpr int N = kBankWidth<T>;
  if (g.shared_bytes == 0) return launch(bank_sum_kernel<T, E, false, false>, shape, p);
  if constexpr (sizeof(E) <= sizeof(T)) {
    const bool aligned = reinterpret_cast<uintptr_t>(p.bank) % (N * sizeof(T)) == 0 && p.cell_stride % N == 0 &&
                         reinterpret_cast<uintptr_t>(p.out) % (N * sizeof(E)) == 0 && p.mask_stride % N == 0 &&
                         p.elements % N == 0;
    if (aligned) return launch(bank_sum_kernel<T, E, true, true>, shape, p);
  }
  launch(bank_sum_kernel<T, E, false, true>, shape, p);
}

// `memory` has geometry.bytes. launch(kernel, shape, params) runs a kernel, on a stream or in the emulator.
template <class T, class Launch>
void bank_sum(Launch&& launch, const BankGeometry& g, void* memory, const BankArguments<T>& a) {
  if (a.elements == 0) return;
  auto* const words = static_cast<uint32_t*>(memory);
  for (int64_t first = 0; first < a.masks; first += g.masks_per_launch) {
    const int64_t masks = std::min(g.masks_per_launch, a.masks - first);
    launch(bank_words_kernel, flat_shape(masks * g.words_per_mask),
           BankWords{a.bits + first * a.mask_bytes, a.cell_bits, words, masks, int(a.cells), int(a.mask_bytes),
                     g.words_per_mask});
    const BankSum<T> p{a.bank,     words,         static_cast<char*>(a.out) + first * a.mask_stride * bytes_of(a.type),
                       a.elements, a.cell_stride, a.mask_stride,
                       masks,      int(a.cells),  g.words_per_mask};
    const Shape shape = bank_shape(g, kBankTile<T>, a.elements, masks);
    switch (a.type) {
      case Number::f32: bank_sum_as<T, float>(launch, g, shape, p); break;
      case Number::f64: bank_sum_as<T, double>(launch, g, shape, p); break;
      case Number::f16: bank_sum_as<T, Half>(launch, g, shape, p); break;
      case Number::bf16: bank_sum_as<T, BFloat16>(launch, g, shape, p); break;
    }
  }
}

}  // namespace freqkit::device

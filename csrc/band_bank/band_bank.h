// y[k] = sum of bank[c] over the cells c that are on in mask k: filtering by masks on a coarse grid, once the images of
// its cells are known. Formulas and the CPU kernels' interface. No torch.
//
// Method of the four Russians: for a tile of elements and each group of four cells, the 16 sums of a subset of them are
// tabulated; then a mask costs one addition per group and element instead of one per cell.
#pragma once

#include <cstdint>

#include "../common/dialect.h"
#include "../common/numbers.h"

namespace freqkit {

constexpr int kGroupCells = 4, kGroupRows = 1 << kGroupCells;

FREQKIT_HD constexpr int bank_groups(int64_t cells) { return int((cells + kGroupCells - 1) / kGroupCells); }

// Whether the cell whose bit is number `position` of a mask is on; bits as in BitMasks, rows of bytes one after
// another.
FREQKIT_HD FREQKIT_INLINE unsigned bank_bit(uint8_t byte, int position) { return byte >> (position & 7) & 1u; }

template <class S>
struct BankSums {
  const S* bank;  // cell c's elements at c*cell_stride
  int cells;
  int64_t cell_stride;
  const uint16_t* rows;  // [masks][groups]: 16*group + its four bits, the row of the tables
  int64_t masks;
  void* out;  // mask k's elements at k*mask_stride
  Number type;
  int64_t mask_stride;
  bool streaming;  // past the caches; every row of `out` must be aligned to 64 bytes then
};

template <class S>
struct BankKernels {
  // Elements of a tile, and numbers of S that its tables take (64-byte aligned).
  int (*tile)(int cells);
  int64_t (*scratch_size)(int cells);
  // Elements first .. first + count - 1 of every mask; first is a multiple of the tile.
  void (*sums)(const BankSums<S>&, int64_t first, int64_t count, S* tables);
};

template <class S>
const BankKernels<S>* baseline_bank_kernels();
template <class S>
const BankKernels<S>* avx2_bank_kernels();
template <class S>
const BankKernels<S>* avx512_bank_kernels();

}  // namespace freqkit

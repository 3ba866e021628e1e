// The CPU operator. Memory beyond its arguments: the table rows of one block of masks, and one tile's tables per
// thread.
#include <algorithm>
#include <vector>

#include "../common/aligned.h"
#include "../common/checks.h"
#include "../common/instruction_set.h"
#include "../common/torch.h"
#include "band_bank.h"

namespace freqkit {
namespace {

constexpr int64_t kMaskBlock = 1024;          // masks that share the making of a tile's tables
constexpr int64_t kStreamingBytes = 4 << 20;  // results beyond this would leave the cache before they are read
constexpr int64_t kUnit = 1 << 15;            // results of one unit of work of a thread

template <class S>
const BankKernels<S>& kernels() {
#ifdef FREQKIT_HAS_X86
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return *avx512_bank_kernels<S>();
    case InstructionSet::kAvx2: return *avx2_bank_kernels<S>();
    case InstructionSet::kBaseline: break;
  }
#endif
  return *baseline_bank_kernels<S>();
}

}  // namespace

// bank [P, ...] contiguous; mask bits [K, rows, bytes]; cells [P]: the bit of each cell; out [K, ...], whose masks are
// contiguous each.
void band_bank_sum_out(const Tensor& bank, const Tensor& mask_any, const Tensor& cells_any, Tensor out) {
  const Tensor mask = contiguous_of(mask_any), cells = contiguous_of(cells_any);
  const int64_t elements = check_bank("freqkit::band_bank_sum_out", bank, mask, cells, out);
  const int64_t count = bank.size(0), masks = mask.size(0);
  const int64_t mask_bytes = mask.size(1) * mask.size(2);
  const auto* const bits = static_cast<const uint8_t*>(mask.const_data_ptr());
  const auto* const positions = static_cast<const int32_t*>(cells.const_data_ptr());
  for (int64_t c = 0; c < count; ++c)
    require(positions[c] >= 0 && positions[c] < 8 * mask_bytes,
            "freqkit::band_bank_sum_out: a cell is outside the grid.");
  dispatch_real("freqkit::band_bank", bank.scalar_type(), [&](auto zero) {
    using S = decltype(zero);
    const BankKernels<S>& kernel = kernels<S>();
    const int groups = bank_groups(count);
    const int64_t item = int64_t(out.element_size()), stride = out.stride(0);
    char* const to = static_cast<char*>(out.mutable_data_ptr());
    const bool aligned = reinterpret_cast<uintptr_t>(to) % 64 == 0 && stride * item % 64 == 0;
    const bool streaming = aligned && masks * elements * item > kStreamingBytes;
    const int64_t tile = kernel.tile(int(count)), tiles = (elements + tile - 1) / tile;
    std::vector<uint16_t> rows(std::min(masks, kMaskBlock) * groups);
    for (int64_t first = 0; first < masks; first += kMaskBlock) {
      const int64_t block = std::min(kMaskBlock, masks - first);
      std::fill(rows.begin(), rows.end(), uint16_t(0));
      for (int64_t k = 0; k < block; ++k)
        for (int64_t c = 0; c < count; ++c) {
          const uint8_t byte = bits[(first + k) * mask_bytes + positions[c] / 8];
          const int group = int(c / kGroupCells);
          rows[k * groups + group] |= uint16_t(kGroupRows * group | bank_bit(byte, positions[c]) << c % kGroupCells);
        }
      const BankSums<S> p{static_cast<const S*>(bank.const_data_ptr()),
                          int(count),
                          elements,
                          rows.data(),
                          block,
                          to + first * stride * item,
                          number_of(out.scalar_type()),
                          stride,
                          streaming};
      torch::stable::parallel_for(
          0, tiles, std::max<int64_t>(1, kUnit / (tile * block)), [&](int64_t begin, int64_t end) {
            const Aligned<S> tables(kernel.scratch_size(int(count)));
            kernel.sums(p, begin * tile, std::min(elements, end * tile) - begin * tile, tables.data);
          });
    }
    return 0;
  });
}

}  // namespace freqkit

STABLE_TORCH_LIBRARY_IMPL(freqkit, CPU, m) { m.impl("band_bank_sum_out", TORCH_BOX(&freqkit::band_bank_sum_out)); }

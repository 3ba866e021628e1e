// The CUDA operator: tensors in, launches on torch's current stream.
#include "../common/checks.h"
#include "../common/torch.h"
#include "band_bank.cuh"

namespace freqkit::device {

// bank [P, ...] contiguous; mask bits [K, rows, bytes]; cells [P]: the bit of each cell; out [K, ...], whose masks are
// contiguous each.
void band_bank_sum_out(const Tensor& bank, const Tensor& mask_any, const Tensor& cells_any, Tensor out) {
  const Tensor mask = contiguous_of(mask_any), cells = contiguous_of(cells_any);
  const int64_t elements = check_bank("freqkit::band_bank_sum_out", bank, mask, cells, out);
  const int64_t count = bank.size(0), masks = mask.size(0);
  if (masks == 0 || elements == 0) return;
  dispatch_real("freqkit::band_bank", bank.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const Stream stream(bank);
    const BankGeometry geometry = bank_geometry(count, masks, stream.shared_limit());
    const Tensor memory = empty_on(bank, {int64_t(geometry.bytes)}, ScalarType::Byte);
    const BankArguments<T> arguments{static_cast<const T*>(bank.const_data_ptr()),
                                     count,
                                     elements,
                                     elements,
                                     static_cast<const unsigned char*>(mask.const_data_ptr()),
                                     static_cast<const int32_t*>(cells.const_data_ptr()),
                                     masks,
                                     mask.size(1) * mask.size(2),
                                     out.mutable_data_ptr(),
                                     number_of(out.scalar_type()),
                                     out.stride(0)};
    bank_sum(stream, geometry, memory.mutable_data_ptr(), arguments);
    return 0;
  });
}

}  // namespace freqkit::device

STABLE_TORCH_LIBRARY_IMPL(freqkit, CUDA, m) {
  m.impl("band_bank_sum_out", TORCH_BOX(&freqkit::device::band_bank_sum_out));
}

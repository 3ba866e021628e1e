// How a mask comes: the numbers of the operators' argument `kind`, on every device and in freqkit/ops.
#pragma once

namespace freqkit {

enum class MaskKind : int {
  kNone = -1,          // inside the device kernels: all bins
  kFull = 0,           // S [K, H, W]
  kHalf = 1,           // S [K, H, W/2+1]
  kBitsAverage = 2,    // bits on a centred grid of cells
  kBitsHermitian = 3,  // the same, the canonical half copied to its partners
};

constexpr bool is_dense(MaskKind kind) { return kind == MaskKind::kFull || kind == MaskKind::kHalf; }
constexpr bool is_bits(MaskKind kind) { return kind == MaskKind::kBitsAverage || kind == MaskKind::kBitsHermitian; }

}  // namespace freqkit

// y[k,b] = Re IDFT2(m_k . DFT2(x[b])): layouts, masks and the CPU kernels' interface. No torch.
//
// A plane's packed spectrum (CPU): rows ky < (H+1)/2 in groups of L lanes, [group][kx][re, im][lane]; for even H then
// the row H/2 as [kx][re, im]; padded to a multiple of 16 numbers. Weights of a mask: m_eff/(HW) as [group][kx][lane],
// then for even H [kx].
#pragma once

#include <cstdint>

#include "../common/numbers.h"
#include "../fft/plan.h"
#include "mask_kind.h"

namespace freqkit {

// Shape of a plane in the packed layout.
struct PlaneShape {
  int height, width, lanes;
  int rows() const { return (height + 1) / 2; }
  int groups() const { return (rows() + lanes - 1) / lanes; }
  bool has_nyquist() const { return height % 2 == 0; }
  int64_t group_size() const { return int64_t(width) * 2 * lanes; }
  int64_t nyquist() const { return groups() * group_size(); }  // offset of the row H/2
  int64_t size() const { return (nyquist() + (has_nyquist() ? 2 * width : 0) + 15) / 16 * 16; }
  int64_t weight_nyquist() const { return int64_t(groups()) * width * lanes; }
  int64_t weight_size() const { return (weight_nyquist() + (has_nyquist() ? width : 0) + 15) / 16 * 16; }
};

// One mask as it came: dense rows, or bits on a centred grid of cells.
struct MaskView {
  MaskKind kind;
  const void* data;    // S[height][width], S[height][width/2+1], or bytes [height/cell_h][row_bytes]
  int cell_h, cell_w;  // bits only
  int64_t row_bytes;   // bits only
};

// Where an image plane is read from: any strides, (value - mean) * scale.
struct PlaneInput {
  const void* data;
  Number dtype;
  int64_t row_stride, column_stride;  // in elements
  double mean, scale;
};

// Where a filtered plane is written.
struct PlaneOutput {
  void* data;
  Number dtype;
  int64_t row_stride, column_stride;  // in elements
  double scale;                       // multiplies the result; 1 unless a transform's transpose asks for it
  bool stream;                        // past the caches, where the kernel can
};

template <class S>
struct CpuKernels {
  const char* name;
  int lanes;
  // Numbers of S of scratch that one call needs; 64-byte aligned. `planes` is 3 for inverse_rgb, else 1.
  int64_t (*scratch_size)(const PlaneShape&, const Plan<S>& rows, const Plan<S>& columns, int planes);
  // x -> packed.
  void (*forward)(const PlaneShape&, const Plan<S>& rows, const Plan<S>& columns, const PlaneInput&, S* packed,
                  S* scratch);
  // packed, weights -> y. `live[group]` is 0 where every weight of a group is 0, else 1 or what `weights` found.
  // `cold`: packed is hardly in the second-level cache.
  void (*inverse)(const PlaneShape&, const Plan<S>& rows, const Plan<S>& columns, const S* packed, const S* weights,
                  const uint8_t* live, bool cold, const PlaneOutput&, S* scratch);
  // The same for the three planes of an image, one after the other in `packed`, into interleaved pixels.
  void (*inverse_rgb)(const PlaneShape&, const Plan<S>& rows, const Plan<S>& columns, const S* packed, const S* weights,
                      const uint8_t* live, bool cold, const PlaneOutput&, S* scratch);
  // mask -> weights (times scale) and live groups; false if a weight is not finite.
  bool (*weights)(const PlaneShape&, const Plan<S>& rows, const MaskView&, double scale, S* weights, uint8_t* live,
                  S* scratch);
  // sum += row factor * weight * value; row factor: 2 on the rows that stand for their mirror too, 1 on rows 0 and H/2.
  void (*accumulate)(const PlaneShape&, const S* weights, const S* value, S* sum);
  // sum[bin] += Re(conj(a) b), in the layout of weights.
  void (*correlate)(const PlaneShape&, const S* a, const S* b, S* sum);
};

// The kernels of each instruction set that was compiled; null where the compiler or the processor lacks it.
template <class S>
const CpuKernels<S>* baseline_kernels();
template <class S>
const CpuKernels<S>* avx2_kernels();
template <class S>
const CpuKernels<S>* avx512_kernels();

}  // namespace freqkit

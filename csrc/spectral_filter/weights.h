// Masks as they come -> the weights that the inverse multiplies by. Included by the kernels, which are compiled once
// per instruction set.
#pragma once

#include <cstring>

#include "../common/simd.h"
#include "../fft/passes.h"
#include "spectral_filter.h"

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {
namespace {

// to[0..count) <- reversed from (to[0] = from[0], to[1] = from[-1], ...) times scale. With `start`, whole vectors are
// written, up to L - 1 numbers too many, where they can be read from `start` on.
template <class S, int L>
FREQKIT_INLINE void copy_reversed(S* to, const S* from, int count, S scale, const S* start = nullptr) {
  int i = 0;
  for (; i + L <= count || (start && i < count && from - start - i >= L - 1); i += L)
    store<L>(to + i, Vec<S, L>(reversed(load<L>(from - i - L + 1), typename MakeLane<L>::type{}) * scale));
  for (; i < count; ++i) to[i] = from[-i] * scale;
}

// Rows of a centred bit mask as numbers, DC first. A row of cells is expanded once for all its rows of bins. Buffers
// have 2L numbers to spare: whole vectors are written.
template <class S, int L>
struct BitRows {
  const MaskView& mask;
  int width;
  S *row, *centred;
  int held = -1;

  const S* at(int h) {
    using V = Vec<S, L>;
    if (h / mask.cell_h == held) return row;
    held = h / mask.cell_h;
    const uint8_t* bits = static_cast<const uint8_t*>(mask.data) + held * mask.row_bytes;
    if (mask.cell_w == 1) {
      for (int w = 0; w < width; w += 8) {
        const unsigned byte = bits[w >> 3];
        if constexpr (sizeof(S) == 4 && L >= 8) {
          typedef int Bits __attribute__((vector_size(32)));
          const Bits chosen = (Bits{} + int(byte)) & Bits{1, 2, 4, 8, 16, 32, 64, 128};
          const Vec<S, 8> ones = Vec<S, 8>{} + S(1);
          store<8>(centred + w, Vec<S, 8>(chosen != 0 ? ones : Vec<S, 8>{}));
        } else {
          for (int i = 0; i < 8; ++i) centred[w + i] = S((byte >> i) & 1);
        }
      }
    } else {
      for (int cell = 0, w = 0; w < width; ++cell) {
        const V value = V{} + S((bits[cell >> 3] >> (cell & 7)) & 1);
        const int end = w + mask.cell_w;
        for (; w < end; w += L) store<L>(centred + w, value);
        w = end;
      }
    }
    const int half = width / 2;  // the centred row is [-half, width - half)
    std::memcpy(row, centred + half, sizeof(S) * (width - half));
    std::memcpy(row + width - half, centred, sizeof(S) * half);
    return row;
  }
};

// m_eff * scale of row ky (DC first) for all kx; `out` has L numbers to spare.
template <class S, int L>
void effective_row(const PlaneShape& shape, const MaskView& mask, int ky, S scale, BitRows<S, L>& a, BitRows<S, L>& b,
                   S* out) {
  using V = Vec<S, L>;
  const int height = shape.height, width = shape.width, mirror = ky == 0 ? 0 : height - ky;
  const S half = scale / 2;
  if (mask.kind == MaskKind::kHalf) {
    const int columns = width / 2 + 1, middle = (width + 1) / 2;  // columns 1 .. middle - 1 stand for their mirror too
    const S *near = static_cast<const S*>(mask.data) + int64_t(ky) * columns,
            *far = static_cast<const S*>(mask.data) + int64_t(mirror) * columns;
    int kx = 0;
    for (; kx + L <= middle; kx += L) store<L>(out + kx, V(load<L>(near + kx) * scale));
    for (; kx < middle; ++kx) out[kx] = near[kx] * scale;
    copy_reversed<S, L>(out + columns, far + middle - 1, width - columns, scale, far);
    out[0] = (near[0] + far[0]) * half;
    if (width % 2 == 0) out[width / 2] = (near[width / 2] + far[width / 2]) * half;
    return;
  }
  const S *near, *far;
  if (mask.kind == MaskKind::kFull) {
    near = static_cast<const S*>(mask.data) + int64_t(ky) * width;
    far = static_cast<const S*>(mask.data) + int64_t(mirror) * width;
  } else {
    const int h = (ky + height / 2) % height, partner = (mirror + height / 2) % height;
    if (mask.kind == MaskKind::kBitsHermitian) {
      if (h == partner) {  // rows 0 and H/2: bins w <= W/2 as drawn, that is kx <= 0
        near = a.at(h);
        const int positive = (width - 1) / 2;
        for (int kx = 0; kx < width; ++kx) out[kx] = near[kx] * scale;
        copy_reversed<S, L>(out + 1, near + width - 1, positive, scale);
        return;
      }
      far = b.at(partner);  // ky > 0 lies below the centre: its partner is the canonical one
      out[0] = far[0] * scale;
      copy_reversed<S, L>(out + 1, far + width - 1, width - 1, scale, far);
      return;
    }
    near = a.at(h);
    far = b.at(partner);
  }
  out[0] = (near[0] + far[0]) * half;
  int kx = 1;
  for (; kx + L <= width; kx += L) {
    const V mirrored = reversed(load<L>(far + width - kx - L + 1), typename MakeLane<L>::type{});
    store<L>(out + kx, V((load<L>(near + kx) + mirrored) * half));
  }
  if (kx < width && width > L) {  // the last ones again
    kx = width - L;
    const V mirrored = reversed(load<L>(far + 1), typename MakeLane<L>::type{});
    store<L>(out + kx, V((load<L>(near + kx) + mirrored) * half));
    return;
  }
  for (; kx < width; ++kx) out[kx] = (near[kx] + far[width - kx]) * half;
}

// 0 or 1 where every cell of a bit mask is that, else -1.
FREQKIT_INLINE int constant_bits(const PlaneShape& shape, const MaskView& mask) {
  if (mask.kind != MaskKind::kBitsAverage && mask.kind != MaskKind::kBitsHermitian) return -1;
  const uint8_t* bits = static_cast<const uint8_t*>(mask.data);
  const int cells = shape.width / mask.cell_w, whole = cells / 8;
  const unsigned rest = (1u << cells % 8) - 1, value = bits[0] & 1, byte = value ? 0xff : 0;
  for (int row = 0; row < shape.height / mask.cell_h; ++row, bits += mask.row_bytes) {
    for (int i = 0; i < whole; ++i)
      if (bits[i] != byte) return -1;
    if (rest && (bits[whole] & rest) != (byte & rest)) return -1;
  }
  return int(value);
}

template <int Bytes>
struct UnsignedOf;
template <>
struct UnsignedOf<4> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<8> {
  using type = uint64_t;
};

// Whether all of some numbers are zeros; soon done where they are not.
template <class S>
bool all_zeros(const S* from, int64_t count) {
  constexpr int kBatch = 256;
  typename UnsignedOf<sizeof(S)>::type any = 0, word;
  for (int64_t i = 0; i < count && any == 0;) {
    const int64_t end = smaller(i + kBatch, count);
    for (; i < end; ++i) {
      std::memcpy(&word, from + i, sizeof(S));
      any |= word << 1;
    }
  }
  return any == 0;
}

// What `live` says of a group that is on: 1, or 1 + the short form of the first pass along kx that serves, where all
// weights but those next to its edges are 0.
template <class S, int L>
uint8_t live_form(const PlaneShape& shape, const Plan<S>& rows, const S* weights, int group) {
  const int width = shape.width;
  int level = 0;
  for (int wanted = kMostLevel; wanted > 0; --wanted) {
    const int edge = edge_elements(rows, wanted);
    if (edge == 0) continue;
    if (!all_zeros(weights + (int64_t(group) * width + edge) * L, int64_t(width - 2 * edge) * L)) break;
    if (group == 0 && shape.has_nyquist() && !all_zeros(weights + shape.weight_nyquist() + edge, width - 2 * edge))
      break;
    level = wanted;
  }
  return uint8_t(1 + level);
}

template <class S, int L>
bool weights_of(const PlaneShape& shape, const Plan<S>& plan, const MaskView& mask, double scale, S* weights,
                uint8_t* live, S* memory) {
  using V = Vec<S, L>;
  const int width = shape.width, rows = shape.rows();
  const int constant = constant_bits(shape, mask);
  if (constant >= 0) {
    for (int group = 0; group < shape.groups(); ++group) {
      V value = {};
      for (int j = 0; j < L && group * L + j < rows; ++j) value[j] = S(constant ? scale : 0);
      for (int64_t i = int64_t(group) * width; i < int64_t(group + 1) * width; ++i) store<L>(weights + i * L, value);
      live[group] = uint8_t(constant);
    }
    for (int64_t i = shape.weight_nyquist(); i < shape.weight_size(); ++i)
      weights[i] = S(constant && shape.has_nyquist() && i < shape.weight_nyquist() + width ? scale : 0);
    return true;
  }
  const int64_t pitch = width + 2 * L + 8;
  BitRows<S, L> a{mask, width, memory, memory + 2 * pitch}, b{mask, width, memory + pitch, memory + 2 * pitch};
  S* row = memory + 3 * pitch;
  // The largest bits of a weight, shifted past its sign: 0 where all are zero; not finite from the exponent of infinity
  // on.
  using Word = typename UnsignedOf<sizeof(S)>::type;
  typedef Word Bits __attribute__((vector_size(L * sizeof(S))));
  constexpr Word kInfinity = sizeof(S) == 4 ? Word(0xff000000) : Word(0xffe0000000000000);
  const auto most = [](Bits most, const V& value) FREQKIT_LAMBDA {
    const Bits bits = Bits(value) << 1;
    return bits > most ? bits : most;
  };
  const auto highest = [](const Bits& of) {
    Word high = 0;
    for (int j = 0; j < L; ++j) high = larger(high, Word(of[j]));
    return high;
  };
  const int64_t end = shape.weight_nyquist() + (shape.has_nyquist() ? width : 0);
  Bits any = {}, every = {};
  if (shape.has_nyquist()) {  // which belongs to the first group
    effective_row<S, L>(shape, mask, shape.height / 2, S(scale), a, b, row);
    std::memcpy(weights + shape.weight_nyquist(), row, sizeof(S) * width);
    std::memset(row + width, 0, sizeof(S) * L);
    for (int kx = 0; kx < width; kx += L) any = most(any, load<L>(row + kx));
  }
  for (int64_t i = end; i < shape.weight_size(); ++i) weights[i] = 0;
  for (int group = 0; group < shape.groups(); ++group) {
    for (int j = 0; j < L; ++j) {
      S* to = row + j * pitch;
      if (group * L + j < rows)
        effective_row<S, L>(shape, mask, group * L + j, S(scale), a, b, to);
      else
        std::memset(to, 0, sizeof(S) * width);
    }
    S* to = weights + int64_t(group) * width * L;
    int kx = 0;
    for (; kx + L <= width; kx += L) {
      V block[L];
#pragma GCC unroll 64
      for (int j = 0; j < L; ++j) block[j] = load<L>(row + j * pitch + kx);
      transpose<S, L>(block);
#pragma GCC unroll 64
      for (int j = 0; j < L; ++j) {
        store<L>(to + int64_t(kx + j) * L, block[j]);
        any = most(any, block[j]);
      }
    }
    for (; kx < width; ++kx) {
      V column;
      for (int j = 0; j < L; ++j) column[j] = row[j * pitch + kx];
      store<L>(to + int64_t(kx) * L, column);
      any = most(any, column);
    }
    live[group] = highest(any) != 0 ? live_form<S, L>(shape, plan, weights, group) : uint8_t(0);
    every = any > every ? any : every;
    any = Bits{};
  }
  return highest(every) < kInfinity;
}

}  // namespace
}  // namespace FREQKIT_SIMD_NAMESPACE
}  // namespace freqkit

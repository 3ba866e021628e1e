// How the device transforms are laid out: plans of one length, work memory, chunks. Plain host code and the
// small structs that kernels take.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "../common/dialect.h"
#include "../common/launch.h"
#include "../common/numbers.h"
#include "../fft/codelets.h"
#include "../fft/radices.h"
#include "mask_kind.h"

namespace freqkit::device {

constexpr int kMaxPasses = 31;               // 2^31 has no more factors
constexpr int kMaxLanes = 16;                // transforms side by side in a block: one bank period of 8-byte words
constexpr int kMaxWideBlocks = 64;           // each owns a work buffer in global memory
constexpr int64_t kScratchBytes = 24 << 20;  // between the two passes; stays in the L2 cache of any recent GPU

// Transforms of one length n, `lanes` of them side by side, as in-place passes: element e of lane l is at
// e*pitch + l. After the passes, output k stands at position(k). A radix without a codelet is a direct sum
// into the second buffer.
struct Line {
  int n = 1;
  int passes = 0;
  int radix[kMaxPasses] = {};
  int log_lanes = 0;
  int buffers = 1;
  bool wide = false;  // the buffers do not fit shared memory and lie in global memory

  FREQKIT_HD int lanes() const { return 1 << log_lanes; }
  FREQKIT_HD int pitch() const { return lanes() | 1; }  // odd: no bank conflicts across elements either
  FREQKIT_HD int64_t elements() const { return int64_t(buffers) * n * pitch(); }
};

// Where output k of a Line stands.
FREQKIT_HD inline int position_of(const Line& line, int k) {
  int position = 0, length = line.n;
  for (int pass = 0; pass < line.passes; ++pass) {
    const int radix = line.radix[pass];
    length /= radix;
    position += k % radix * length;
    k /= radix;
  }
  return position;
}

struct MaskView {
  const void* data = nullptr;  // T [K,H,W], T [K,H,W/2+1], or bits [K,cell_rows,row_bytes], centred
  MaskKind kind = MaskKind::kNone;
  int cell_height = 1, cell_width = 1;
  int cell_rows = 1, row_bytes = 1;
};

// Planes of a chunk: scratch plane s is plane first + (s / outer)*inner_step + (s % outer)*outer_step of the
// tensor.
struct PlaneMap {
  int64_t first = 0, outer = 1, inner = 1, outer_step = 1, inner_step = 1;
  FREQKIT_HD int64_t count() const { return outer * inner; }
  FREQKIT_HD int64_t operator()(int64_t s) const { return first + s / outer * inner_step + s % outer * outer_step; }
};

// Images of a tensor [..., C, H, W]: plane p starts at (p / C)*image + (p % C)*channel.
struct ImageView {
  const void* data = nullptr;
  Number type = Number::f32;
  int64_t image = 0, channel = 0, row = 0, column = 0;  // in elements
};

#define FREQKIT_ENTRY(R) R,
constexpr int kLargeRadices[] = {FREQKIT_EACH_LARGE_DEVICE_RADIX(FREQKIT_ENTRY)};  // float32 only
constexpr int kSmallRadices[] = {FREQKIT_EACH_SMALL_DEVICE_RADIX(FREQKIT_ENTRY)};
#undef FREQKIT_ENTRY

// The fewest passes, then the smallest sum of radices.
inline void best_radices(int remaining, bool large, int depth, int (&trial)[kMaxPasses], int& best_passes,
                         int& best_sum, int sum, Line& line) {
  if (depth > best_passes) return;
  if (remaining == 1) {
    if (depth < best_passes || (depth == best_passes && sum < best_sum)) {
      best_passes = depth;
      best_sum = sum;
      std::copy(trial, trial + depth, line.radix);
      line.passes = depth;
    }
    return;
  }
  const auto with = [&](int r) {
    if (remaining % r != 0 || (depth > 0 && r > trial[depth - 1])) return;
    trial[depth] = r;
    best_radices(remaining / r, large, depth + 1, trial, best_passes, best_sum, sum + r, line);
  };
  if (large)
    for (int r : kLargeRadices) with(r);
  for (int r : kSmallRadices) with(r);
}

// A plan for length n whose work memory fits `shared_limit` bytes, or a wide one.
inline Line make_line(int n, int complex_bytes, size_t shared_limit) {
  if (n < 1) throw std::invalid_argument("make_line: the length must be at least 1; got " + std::to_string(n));
  Line line;
  line.n = n;
  int direct[kMaxPasses], directs = 0, smooth = 1, rest = n;
  for (int p : kSmallRadices)  // composite ones too: what is left of them are their primes
    while (rest % p == 0) rest /= p, smooth *= p;
  for (int p = 11; int64_t(p) * p <= rest; p += 2)
    while (rest % p == 0) direct[directs++] = p, rest /= p;
  if (rest > 1) direct[directs++] = rest;
  int trial[kMaxPasses], best_passes = kMaxPasses, best_sum = 1 << 30;
  const bool large = complex_bytes == 8;  // wider codelets in double would not fit the registers
  best_radices(smooth, large, 0, trial, best_passes, best_sum, 0, line);
  for (int i = 0; i < directs; ++i) line.radix[line.passes++] = direct[i];
  line.buffers = directs > 0 ? 2 : 1;
  for (line.log_lanes = 4; line.log_lanes >= 0; --line.log_lanes)
    if (uint64_t(line.elements()) * complex_bytes <= shared_limit) return line;
  line.log_lanes = 4;
  line.wide = true;
  return line;
}

// Everything about a call that follows from its sizes. Offsets are in bytes from the start of the work
// memory.
struct Geometry {
  int height = 0, width = 0, half = 0, pairs = 0;  // half = H/2 + 1 rows; two columns are transformed as one
  Line rows, columns;
  int64_t chunk = 1;  // planes in flight
  size_t row_roots = 0, column_roots = 0, row_positions = 0, column_positions = 0, scratch = 0, wide = 0;
  size_t bytes = 0;
};

inline Geometry make_geometry(int64_t height, int64_t width, int64_t planes, int complex_bytes, size_t shared_limit,
                              int64_t scratch_bytes = kScratchBytes) {
  if (height < 1 || width < 1 || height > (1 << 24) || width > (1 << 24))
    throw std::invalid_argument("spectral_filter: H and W must be between 1 and 2^24; got " + std::to_string(height) +
                                " x " + std::to_string(width));
  Geometry g;
  g.height = int(height);
  g.width = int(width);
  g.half = g.height / 2 + 1;
  g.pairs = (g.width + 1) / 2;
  g.rows = make_line(g.width, complex_bytes, shared_limit);
  g.columns = make_line(g.height, complex_bytes, shared_limit);
  const int64_t plane_bytes = int64_t(g.half) * g.width * complex_bytes;
  g.chunk = std::clamp<int64_t>(scratch_bytes / plane_bytes, 1, std::max<int64_t>(planes, 1));
  size_t end = 0;
  auto place = [&](size_t bytes) {
    const size_t at = end;
    end += (bytes + 255) / 256 * 256;
    return at;
  };
  g.row_roots = place(size_t(g.width) * complex_bytes);
  g.column_roots = place(size_t(g.height) * complex_bytes);
  g.row_positions = place(size_t(g.width) * 4);
  g.column_positions = place(size_t(g.height) * 4);
  const int64_t padded_rows = (g.chunk * g.half + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  g.scratch = place(size_t(padded_rows) * g.width * complex_bytes);
  const int64_t wide = std::max(g.rows.wide ? g.rows.elements() : 0, g.columns.wide ? g.columns.elements() : 0);
  g.wide = place(size_t(wide) * complex_bytes * kMaxWideBlocks);
  g.bytes = end;
  return g;
}

inline Shape line_shape(const Line& line, int64_t items, int complex_bytes) {
  Shape shape;
  shape.blocks = unsigned(std::clamp<int64_t>(items, 1, line.wide ? kMaxWideBlocks : kMaxBlocks));
  shape.shared_bytes = line.wide ? 0 : size_t(line.elements()) * complex_bytes;
  return shape;
}

}  // namespace freqkit::device

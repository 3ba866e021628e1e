// The CPU kernels; compiled once per instruction set with FREQKIT_SIMD_NAMESPACE and FREQKIT_LANE_BYTES.
//
// Inverse: for each group of L rows ky, multiply by the mask while loading the first pass of the transform along kx,
// into T[group][x][re, im][ky lane]. For even H the row H/2 rides as imaginary part of row 0 (both real after this
// transform). Then for each 2L columns: transpose to lanes of x, join columns x and x + L as real and imaginary part of
// one complex transform along ky, and write its rows straight to the image: 2L adjacent pixels at a time. Forward is
// the mirror image.
//
// Nothing of the standard library's templates here: an inline function compiled for AVX-512 must not be the copy that
// the linker keeps for every machine.
#include <cstring>

#include "../common/simd.h"
#include "../fft/passes.h"
#include "spectral_filter.h"
#include "weights.h"

#if FREQKIT_LANE_BYTES == 0
#error "define FREQKIT_LANE_BYTES"
#endif

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {
namespace {

// ---- conversions ----------------------------------------------------------------------------------------------------

// narrow<BFloat16> on a vector of lanes.
template <int L>
FREQKIT_INLINE Vec<uint16_t, L> to_bfloat16(const Vec<float, L>& value) {
  typedef uint32_t Bits __attribute__((vector_size(L * 4)));
  Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
  return __builtin_convertvector((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded, Vec<uint16_t, L>);
}

// Lane j of part K of r g b r g b ..., first from r and g, then with b.
template <int K, class V, int... I>
FREQKIT_INLINE V interleave_part(const V& r, const V& g, const V& b, Lane<I...>) {
  constexpr int n = sizeof...(I);
  const V rg = __builtin_shufflevector(r, g, ((K * n + I) % 3 == 1 ? n + (K * n + I) / 3 : (K * n + I) / 3)...);
  return __builtin_shufflevector(rg, b, ((K * n + I) % 3 == 2 ? n + (K * n + I) / 3 : I)...);
}

template <class T, int L>
FREQKIT_INLINE void store_interleaved(T* to, const Vec<T, L>& r, const Vec<T, L>& g, const Vec<T, L>& b, bool stream) {
  using Order = typename MakeLane<L>::type;
  const Vec<T, L> first = interleave_part<0>(r, g, b, Order{}), second = interleave_part<1>(r, g, b, Order{}),
                  third = interleave_part<2>(r, g, b, Order{});
  if (stream) {
    store_streaming<L>(to, first);
    store_streaming<L>(to + L, second);
    store_streaming<L>(to + 2 * L, third);
  } else {
    store<L>(to, first);
    store<L>(to + L, second);
    store<L>(to + 2 * L, third);
  }
}

template <class S>
S read(const PlaneInput& in, int64_t at) {
  switch (in.dtype) {
    case Number::f32: return S(static_cast<const float*>(in.data)[at]);
    case Number::f64: return S(static_cast<const double*>(in.data)[at]);
    case Number::bf16: return S(widen(static_cast<const BFloat16*>(in.data)[at]));
    default: return S(widen(static_cast<const Half*>(in.data)[at]));
  }
}

template <class S>
constexpr Number dtype_of() {
  return sizeof(S) == 4 ? Number::f32 : Number::f64;
}

// values[columns] -> the output row, converted.
template <class S>
void write_row(const PlaneOutput& out, int64_t at, const S* values, int columns) {
  const int64_t step = out.column_stride;
  switch (out.dtype) {
    case Number::f32: {
      float* to = static_cast<float*>(out.data) + at;
      for (int i = 0; i < columns; ++i) to[i * step] = float(values[i]);
      return;
    }
    case Number::f64: {
      double* to = static_cast<double*>(out.data) + at;
      for (int i = 0; i < columns; ++i) to[i * step] = double(values[i]);
      return;
    }
    case Number::bf16: {
      BFloat16* to = static_cast<BFloat16*>(out.data) + at;
      if (step == 1)
        for (int i = 0; i < columns; ++i) to[i] = narrow<BFloat16>(float(values[i]));
      else
        for (int i = 0; i < columns; ++i) to[i * step] = narrow<BFloat16>(float(values[i]));
      return;
    }
    default: {
      Half* to = static_cast<Half*>(out.data) + at;
      for (int i = 0; i < columns; ++i) to[i * step] = narrow<Half>(float(values[i]));
    }
  }
}

// ---- scratch --------------------------------------------------------------------------------------------------------

// T: one plane between the two transforms. Groups lie a little apart, so that equal columns of different groups do not
// fall into the same cache set.
template <int L>
int64_t pitch_of(const PlaneShape& shape) {
  const int64_t columns = (shape.width + 2 * L - 1) / (2 * L) * (2 * L);
  return (columns + 4) * 2 * L;
}

template <class S, int L>
struct Scratch {
  S *t, *z, *y, *rest;
  int64_t pitch, plane, line;  // of T's groups and planes, and of the buffers of one block of columns
  Scratch(const PlaneShape& shape, int64_t longest, int planes, S* memory) {
    pitch = pitch_of<L>(shape);
    plane = shape.groups() * pitch;
    line = longest * 2 * L;
    t = memory;
    z = t + planes * plane;
    y = z + line;
    rest = y + planes * line;
  }
};

template <class S>
int64_t longest_of(const Plan<S>& rows, const Plan<S>& columns) {
  return larger(rows.extent(), columns.extent()) + 1;
}

template <class S, int L>
int64_t scratch_size(const PlaneShape& shape, const Plan<S>& rows, const Plan<S>& columns, int planes) {
  const int64_t longest = longest_of(rows, columns);
  const int64_t radix = larger(largest_radix(rows), largest_radix(columns));
  const int64_t weights = int64_t(L + 3) * (shape.width + 2 * L + 8);
  return planes * shape.groups() * pitch_of<L>(shape) + (1 + planes) * longest * 2 * L +
         larger(radix * 4 * L, weights) + 64;
}

// ---- inverse --------------------------------------------------------------------------------------------------------

// Rows first .. first + L of one block of 2L columns, from T to lanes of x: columns x and x + L become real and
// imaginary part of z[ky]. They are joined before they are transposed, so that one block of L vectors is alive at a
// time. Lane 0 of the first group holds row 0 + i row H/2, both real: these have no mirror and are taken apart.
template <class S, int L, bool FIRST, bool FULL>
FREQKIT_INLINE void join_group(const S* t, const int* position, int height, int first, int rows, S* z) {
  using V = Vec<S, L>;
  typedef decltype(V{} < V{}) Choice;
  Choice mirrored = Choice{} - 1;
  if constexpr (FIRST) mirrored[0] = 0;
  const auto part = [&](bool high, int64_t offset, auto value) FREQKIT_LAMBDA {
    V r[L];
#pragma GCC unroll 64
    for (int j = 0; j < L; ++j) {
      const S *a = t + j * 2 * L, *b = a + L * 2 * L;
      r[j] = value(load<L>(a), load<L>(a + L), load<L>(b), load<L>(b + L));
    }
    transpose<S, L>(r);
#pragma GCC unroll 64
    for (int j = 0; j < L; ++j)
      if (FULL || first + j < rows) {
        int row = high ? height - first - j : first + j;
        if (FIRST && j == 0 && high) {
          if (height % 2) continue;
          row = height / 2;
        }
        store<L>(z + int64_t(position[row]) * 2 * L + offset, r[j]);
      }
  };
  const auto choose = [&](V value, V real_row) FREQKIT_LAMBDA { return FIRST ? (mirrored ? value : real_row) : value; };
  part(false, 0, [&](V ar, V, V, V bi) FREQKIT_LAMBDA { return choose(ar - bi, ar); });
  part(false, L, [&](V, V ai, V br, V) FREQKIT_LAMBDA { return choose(br + ai, br); });
  part(true, 0, [&](V ar, V ai, V, V bi) FREQKIT_LAMBDA { return choose(ar + bi, ai); });
  part(true, L, [&](V, V ai, V br, V bi) FREQKIT_LAMBDA { return choose(br - ai, bi); });
}

// Which short form of the first pass along ky serves: the rows of every group that is on lie next to its edges.
template <class S>
int column_level(const PlaneShape& shape, const Plan<S>& columns, const uint8_t* live) {
  int end = 0;
  for (int group = 0; group < shape.groups(); ++group)
    if (live[group]) end = smaller((group + 1) * shape.lanes, shape.rows());
  for (int level = 1; level <= kMostLevel; ++level)
    if (end <= edge_elements(columns, level)) return level;
  return 0;
}

// All rows of one block of columns: z[ky] for all ky that the first pass reads (`level`: its short form). Nothing of a
// group that is off is read.
template <class S, int L>
void join_columns(const PlaneShape& shape, const Plan<S>& columns, int level, const Scratch<S, L>& s,
                  const uint8_t* live, const S* plane, int x0) {
  using V = Vec<S, L>;
  const int height = shape.height, rows = shape.rows(), inner = columns.pass[0].inner;
  const int* const position = columns.position;
  const int edge = level ? edge_elements(columns, level) : rows;
  for (int group = 0; group < shape.groups(); ++group) {
    const S* t = plane + group * s.pitch + int64_t(x0) * 2 * L;
    const int first = group * L;
    if (!live[group]) {
      const auto clear = [&](int row) FREQKIT_LAMBDA {
        store<L>(s.z + int64_t(position[row]) * 2 * L, V{});
        store<L>(s.z + int64_t(position[row]) * 2 * L + L, V{});
      };
      for (int ky = first; ky < smaller(first + L, rows); ++ky) {
        if (ky >= edge && ky % inner != 0) continue;
        clear(ky);
        if (ky > 0) clear(height - ky);
      }
      if (group == 0 && shape.has_nyquist()) clear(height / 2);
    } else if (group == 0) {
      if (rows >= L)
        join_group<S, L, true, true>(t, position, height, first, rows, s.z);
      else
        join_group<S, L, true, false>(t, position, height, first, rows, s.z);
    } else if (first + L <= rows) {
      join_group<S, L, false, true>(t, position, height, first, rows, s.z);
    } else {
      join_group<S, L, false, false>(t, position, height, first, rows, s.z);
    }
  }
}

// The row H/2, masked and turned by 90 degrees.
template <class S>
void masked_nyquist(const S* __restrict x, const S* __restrict w, int width, S* __restrict to) {
  for (int i = 0; i < width; ++i) {
    to[2 * i] = -x[2 * i + 1] * w[i];
    to[2 * i + 1] = x[2 * i] * w[i];
  }
}

// The transform along kx of one masked plane, into T.
template <class S, int L>
void masked_rows(const PlaneShape& shape, const Plan<S>& rows, const S* packed, const S* weights, const uint8_t* live,
                 bool cold, const Scratch<S, L>& s, S* plane) {
  using V = Vec<S, L>;
  const int width = shape.width;
  if (width %
      (2 * L))  // columns beyond the image share transforms with real ones: rounding must not carry leftovers over
    for (int group = 0; group < shape.groups(); ++group)
      std::memset(plane + group * s.pitch + int64_t(width) * 2 * L, 0, sizeof(S) * (2 * L - width % (2 * L)) * 2 * L);
  for (int group = 0; group < shape.groups(); ++group) {
    S* t = plane + group * s.pitch;
    if (!live[group]) continue;
    const S* x = packed + group * shape.group_size();
    const S* w = weights + int64_t(group) * width * L;
    const bool nyquist = group == 0 && shape.has_nyquist();
    const S* n = s.y;
    // The first pass walks as many streams as its radix, too many for the processor to foresee: the next group comes to
    // the second-level cache while this one is transformed.
    int next = cold ? group + 1 : shape.groups();
    while (next < shape.groups() && !live[next]) ++next;
    if (next < shape.groups()) {
      const S *xs = packed + next * shape.group_size(), *ws = weights + int64_t(next) * width * L;
      for (int64_t i = 0; i < shape.group_size(); i += 64 / int64_t(sizeof(S))) __builtin_prefetch(xs + i, 0, 2);
      for (int64_t i = 0; i < int64_t(width) * L; i += 64 / int64_t(sizeof(S))) __builtin_prefetch(ws + i, 0, 2);
    }
    if (nyquist) masked_nyquist(packed + shape.nyquist(), weights + shape.weight_nyquist(), width, s.y);
    bool fused = false;
    if (rows.passes > 1) {
      const int level = live[group] - 1;
      fused =
          nyquist ? run_masked<L, true>(rows, level, x, w, n, s.z) : run_masked<L, false>(rows, level, x, w, n, s.z);
    }
    if (!fused)
      for (int i = 0; i < width; ++i) {
        const V weight = load<L>(w + int64_t(i) * L);
        V re = load<L>(x + int64_t(i) * 2 * L) * weight, im = load<L>(x + int64_t(i) * 2 * L + L) * weight;
        if (nyquist) re += V{n[2 * i]}, im += V{n[2 * i + 1]};
        store<L>(s.z + int64_t(rows.position[i]) * 2 * L, re);
        store<L>(s.z + int64_t(rows.position[i]) * 2 * L + L, im);
      }
    transform<L>(rows, rows.pitch, s.z, s.z + L, t, t + L, 2 * L, s.rest, fused ? 1 : 0);
  }
}

// The transform along ky of one block of columns, from z.
template <int L, bool STREAM = false, class S>
FREQKIT_INLINE void columns_from(const Plan<S>& columns, int level, const Scratch<S, L>& s, S* to, int64_t stride) {
  if (level) run_edges<L>(columns, level, s.z, s.z + L);
  transform<L, STREAM>(columns, columns.pitch, s.z, s.z + L, to, to + L, stride, s.rest, level ? 1 : 0);
}

// Whether every vector of an output row is aligned to its size and vectors fill cache lines in pairs or alone.
FREQKIT_INLINE bool whole_lines(const PlaneOutput& out, int lanes) {
  const int64_t item = bytes_of(out.dtype);
  return reinterpret_cast<uintptr_t>(out.data) % 64 == 0 && out.row_stride * item % 64 == 0 && lanes * item % 16 == 0;
}

template <class S, int L>
void inverse(const PlaneShape& shape, const Plan<S>& rows, const Plan<S>& columns, const S* packed, const S* weights,
             const uint8_t* live, bool cold, const PlaneOutput& out, S* memory) {
  const Scratch<S, L> s(shape, longest_of(rows, columns), 1, memory);
  const int width = shape.width, height = shape.height;
  const bool stream = out.stream && whole_lines(out, L);
  const int level = column_level(shape, columns, live);
  masked_rows<S, L>(shape, rows, packed, weights, live, cold, s, s.t);
  for (int x0 = 0; x0 < width; x0 += 2 * L) {
    join_columns<S, L>(shape, columns, level, s, live, s.t, x0);
    const int count = smaller(2 * L, width - x0);
    if (count == 2 * L && out.dtype == dtype_of<S>() && out.column_stride == 1 && out.scale == 1) {
      S* to = static_cast<S*>(out.data) + x0;
      if (stream)
        columns_from<L, true>(columns, level, s, to, out.row_stride);
      else
        columns_from<L>(columns, level, s, to, out.row_stride);
      continue;
    }
    columns_from<L>(columns, level, s, s.y, 2 * L);
    if (out.scale != 1) {
      const S scale = S(out.scale);
      for (int64_t i = 0; i < int64_t(height) * 2 * L; ++i) s.y[i] *= scale;
    }
    for (int y = 0; y < height; ++y)
      write_row(out, y * out.row_stride + x0 * out.column_stride, s.y + int64_t(y) * 2 * L, count);
  }
  if (stream) fence_streams();
}

// Three channels of one image into interleaved pixels: whole cache lines are written instead of every third number.
template <class S, int L>
void inverse_rgb(const PlaneShape& shape, const Plan<S>& rows, const Plan<S>& columns, const S* packed,
                 const S* weights, const uint8_t* live, bool cold, const PlaneOutput& out, S* memory) {
  const Scratch<S, L> s(shape, longest_of(rows, columns), 3, memory);
  const int width = shape.width, height = shape.height;
  const bool stream = out.stream && whole_lines(out, L);
  const int level = column_level(shape, columns, live);
  for (int c = 0; c < 3; ++c)
    masked_rows<S, L>(shape, rows, packed + c * shape.size(), weights, live, cold, s, s.t + c * s.plane);
  const bool fast = out.dtype == dtype_of<S>() || (out.dtype == Number::bf16 && sizeof(S) == 4);
  for (int x0 = 0; x0 < width; x0 += 2 * L) {
    const int count = smaller(2 * L, width - x0);
    for (int c = 0; c < 3; ++c) {
      join_columns<S, L>(shape, columns, level, s, live, s.t + c * s.plane, x0);
      columns_from<L>(columns, level, s, s.y + c * s.line, 2 * L);
    }
    for (int y = 0; y < height; ++y) {
      const S* from = s.y + int64_t(y) * 2 * L;
      const int64_t at = y * out.row_stride + int64_t(x0) * 3;
      if (!fast || count < 2 * L) {
        for (int c = 0; c < 3; ++c) {
          PlaneOutput channel = out;
          channel.column_stride = 3;
          write_row(channel, at + c, from + c * s.line, count);
        }
        continue;
      }
      for (int part = 0; part < 2; ++part) {
        const S* v = from + part * L;
        if (out.dtype == dtype_of<S>())
          store_interleaved<S, L>(static_cast<S*>(out.data) + at + part * 3 * L, load<L>(v), load<L>(v + s.line),
                                  load<L>(v + 2 * s.line), stream);
        else if constexpr (sizeof(S) == 4)
          store_interleaved<uint16_t, L>(static_cast<uint16_t*>(out.data) + at + part * 3 * L,
                                         to_bfloat16<L>(load<L>(v)), to_bfloat16<L>(load<L>(v + s.line)),
                                         to_bfloat16<L>(load<L>(v + 2 * s.line)), stream);
      }
    }
  }
  if (stream) fence_streams();
}

// ---- forward --------------------------------------------------------------------------------------------------------

template <class S, int L>
void forward(const PlaneShape& shape, const Plan<S>& rows, const Plan<S>& columns, const PlaneInput& in, S* packed,
             S* memory) {
  using V = Vec<S, L>;
  const Scratch<S, L> s(shape, longest_of(rows, columns), 1, memory);
  const int width = shape.width, height = shape.height, half_rows = shape.rows();
  const S mean = S(in.mean), scale = S(in.scale), half = S(0.5);
  const bool plain = in.dtype == dtype_of<S>() && in.column_stride == 1;
  // Columns x and x + L as one complex transform along y; its real and imaginary parts are exchanged on the way in and
  // out, which makes the inverse codelets transform forwards.
  for (int x0 = 0; x0 < width; x0 += 2 * L) {
    const int count = smaller(2 * L, width - x0);
    for (int y = 0; y < height; ++y) {
      const int64_t from = y * in.row_stride + x0 * in.column_stride;
      S* z = s.z + int64_t(columns.position[y]) * 2 * L;
      if (plain && count == 2 * L) {
        const S* row = static_cast<const S*>(in.data) + from;
        store<L>(z, V((load<L>(row) - mean) * scale));
        store<L>(z + L, V((load<L>(row + L) - mean) * scale));
      } else {
        for (int i = 0; i < 2 * L; ++i)
          z[i] = i < count ? (read<S>(in, from + i * in.column_stride) - mean) * scale : S(0);
      }
    }
    transform<L>(columns, columns.pitch, s.z + L, s.z, s.y + L, s.y, 2 * L, s.rest);
    for (int group = 0; group < shape.groups(); ++group) {
      V ar[L], ai[L], br[L], bi[L];
      for (int j = 0; j < L; ++j) {
        const int ky = group * L + j;
        if (ky >= half_rows) {
          ar[j] = ai[j] = br[j] = bi[j] = V{};
          continue;
        }
        const S* low = s.y + int64_t(ky) * 2 * L;
        const S* high = s.y + int64_t(ky == 0 ? 0 : height - ky) * 2 * L;
        ar[j] = (load<L>(low) + load<L>(high)) * half;
        ai[j] = (load<L>(low + L) - load<L>(high + L)) * half;
        br[j] = (load<L>(low + L) + load<L>(high + L)) * half;
        bi[j] = (load<L>(high) - load<L>(low)) * half;
        if (ky == 0 && shape.has_nyquist()) {
          ai[j] = load<L>(s.y + int64_t(height / 2) * 2 * L);
          bi[j] = load<L>(s.y + int64_t(height / 2) * 2 * L + L);
        }
      }
      transpose<S, L>(ar);
      transpose<S, L>(ai);
      transpose<S, L>(br);
      transpose<S, L>(bi);
      S* t = s.t + group * s.pitch + int64_t(x0) * 2 * L;
      for (int j = 0; j < L; ++j) {
        store<L>(t + j * 2 * L, ar[j]);
        store<L>(t + j * 2 * L + L, ai[j]);
        store<L>(t + (j + L) * 2 * L, br[j]);
        store<L>(t + (j + L) * 2 * L + L, bi[j]);
      }
    }
  }
  for (int group = 0; group < shape.groups(); ++group) {
    S* t = s.t + group * s.pitch;
    S* to = packed + group * shape.group_size();
    transform<L>(rows, rows.pass[0].inner, t + L, t, to + L, to, 2 * L, s.rest);
  }
  // Lane 0 of group 0 holds row 0 plus i times row H/2: both are transforms of real rows, so they come apart.
  if (shape.has_nyquist()) {
    S* nyquist = packed + shape.nyquist();
    for (int k = 0; k <= width / 2; ++k) {
      const int m = k == 0 ? 0 : width - k;
      S *a = packed + int64_t(k) * 2 * L, *b = packed + int64_t(m) * 2 * L;
      const S ar = a[0], ai = a[L], br = b[0], bi = b[L];
      a[0] = (ar + br) * half;
      a[L] = (ai - bi) * half;
      b[0] = a[0];
      b[L] = -a[L];
      nyquist[2 * k] = (ai + bi) * half;
      nyquist[2 * k + 1] = (br - ar) * half;
      nyquist[2 * m] = nyquist[2 * k];
      nyquist[2 * m + 1] = -nyquist[2 * k + 1];
    }
  }
  const int64_t used = shape.nyquist() + (shape.has_nyquist() ? 2 * width : 0);
  for (int64_t i = used; i < shape.size(); ++i) packed[i] = 0;
}

// ---- transposes -----------------------------------------------------------------------------------------------------

template <class S, int L>
void accumulate(const PlaneShape& shape, const S* weights, const S* value, S* sum) {
  using V = Vec<S, L>;
  for (int group = 0; group < shape.groups(); ++group) {
    V factor = V{} + S(2);
    if (group == 0) factor[0] = 1;
    for (int64_t i = int64_t(group) * shape.width; i < int64_t(group + 1) * shape.width; ++i) {
      const V w = load<L>(weights + i * L) * factor;
      store<L>(sum + i * 2 * L, V(load<L>(sum + i * 2 * L) + w * load<L>(value + i * 2 * L)));
      store<L>(sum + i * 2 * L + L, V(load<L>(sum + i * 2 * L + L) + w * load<L>(value + i * 2 * L + L)));
    }
  }
  if (shape.has_nyquist())
    for (int i = 0; i < 2 * shape.width; ++i)
      sum[shape.nyquist() + i] += weights[shape.weight_nyquist() + i / 2] * value[shape.nyquist() + i];
}

template <class S, int L>
void correlate(const PlaneShape& shape, const S* a, const S* b, S* sum) {
  using V = Vec<S, L>;
  for (int64_t i = 0; i < int64_t(shape.groups()) * shape.width; ++i) {
    const V product =
        load<L>(a + i * 2 * L) * load<L>(b + i * 2 * L) + load<L>(a + i * 2 * L + L) * load<L>(b + i * 2 * L + L);
    store<L>(sum + i * L, V(load<L>(sum + i * L) + product));
  }
  if (shape.has_nyquist()) {
    const S *an = a + shape.nyquist(), *bn = b + shape.nyquist();
    for (int i = 0; i < shape.width; ++i)
      sum[shape.weight_nyquist() + i] += an[2 * i] * bn[2 * i] + an[2 * i + 1] * bn[2 * i + 1];
  }
}

#define FREQKIT_STRING_(x) #x
#define FREQKIT_STRING(x) FREQKIT_STRING_(x)

template <class S>
const CpuKernels<S>* table() {
  constexpr int L = FREQKIT_LANE_BYTES / int(sizeof(S));
  static const CpuKernels<S> kernels = {
      FREQKIT_STRING(FREQKIT_SIMD_NAMESPACE),
      L,
      scratch_size<S, L>,
      forward<S, L>,
      inverse<S, L>,
      inverse_rgb<S, L>,
      weights_of<S, L>,
      accumulate<S, L>,
      correlate<S, L>,
  };
  return &kernels;
}

}  // namespace
}  // namespace FREQKIT_SIMD_NAMESPACE

#define FREQKIT_JOIN_(a, b) a##b
#define FREQKIT_JOIN(a, b) FREQKIT_JOIN_(a, b)
template <>
const CpuKernels<float>* FREQKIT_JOIN(FREQKIT_SIMD_NAMESPACE, _kernels)<float>() {
  return table<float>();
}
template <>
const CpuKernels<double>* FREQKIT_JOIN(FREQKIT_SIMD_NAMESPACE, _kernels)<double>() {
  return table<double>();
}

}  // namespace freqkit

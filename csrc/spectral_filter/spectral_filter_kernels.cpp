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
#include "../fft/codelets.h"
#include "spectral_filter.h"

#if FREQKIT_LANE_BYTES == 0
#error "define FREQKIT_LANE_BYTES"
#endif

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {
namespace {

template <class S>
FREQKIT_INLINE S smaller(S a, S b) {
  return a < b ? a : b;
}
template <class S>
FREQKIT_INLINE S larger(S a, S b) {
  return a < b ? b : a;
}

// ---- passes ---------------------------------------------------------------------------------------------------------

// v times the K-th twiddle of an element; twiddles[0] belongs to K = 1.
template <int K, class V, class S>
FREQKIT_INLINE Complex<V> turned(const Complex<V>& v, const S* twiddles) {
  if constexpr (K == 0) {
    return v;
  } else {
    const S c = twiddles[2 * K - 2], s = twiddles[2 * K - 1];
    return {v.re * c - v.im * s, v.re * s + v.im * c};
  }
}

// First pass along kx, multiplying by the mask on the way in. `nyquist` is the masked row H/2, turned by 90 degrees,
// which joins lane 0.
template <int R, int INNER, int L, bool NYQUIST, class S>
void pass_masked(const S* __restrict x, const S* __restrict w, const S* __restrict nyquist, S* __restrict z,
                 int any_inner, int any_pitch, const S* __restrict twiddles) {
  using V = Vec<S, L>;
  using C = Complex<V>;
  const int inner = INNER ? INNER : any_inner, pitch = INNER ? INNER + 1 : any_pitch;
  for (int b = 0; b < inner; ++b, x += 2 * L, w += L, z += 2 * L, twiddles += 2 * (R - 1)) {
    if constexpr (NYQUIST) nyquist += b > 0 ? 2 : 0;
    fft<R, V>(
        [&](auto ai) FREQKIT_LAMBDA {
          const int64_t i = int64_t(decltype(ai)::value) * inner;
          const V weight = load<L>(w + i * L);
          C v = {load<L>(x + i * 2 * L) * weight, load<L>(x + i * 2 * L + L) * weight};
          if constexpr (NYQUIST) v.re += V{nyquist[2 * i]}, v.im += V{nyquist[2 * i + 1]};
          return v;
        },
        [&](auto ki, const C& value) FREQKIT_LAMBDA {
          constexpr int K = decltype(ki)::value;
          const C v = turned<K>(value, twiddles);
          store<L>(z + int64_t(K) * pitch * 2 * L, v.re);
          store<L>(z + int64_t(K) * pitch * 2 * L + L, v.im);
        });
  }
}

// Where a block of pass i starts: the first pass's blocks lie `pitch` apart, theirs are contiguous inside. For the
// first pass itself there is one block, and `pitch` is the distance of its rows.
struct Blocks {
  int count, per_first, size, pitch;
  // body(block, where it starts) for all blocks; without divisions, which cost as much as a small butterfly.
  template <class F>
  FREQKIT_INLINE void each(F&& body) const {
    int block = 0;
    for (int64_t start = 0; block < count; start += pitch) {
      int64_t at = start;
      for (int i = 0; i < per_first; ++i, at += size) body(block++, at);
    }
  }
};
template <class S>
FREQKIT_INLINE Blocks blocks_of(const Plan<S>& plan, int i, int pitch) {
  const Pass<S>& pass = plan.pass[i];
  return {pass.blocks, i == 0 ? 1 : pass.blocks / plan.pass[0].radix, pass.radix * pass.inner, pitch};
}

template <int R, int INNER, int L, class S>
void pass_in_place(S* __restrict re, S* __restrict im, const Blocks blocks, int any_inner, int any_step,
                   const S* __restrict twiddles) {
  using V = Vec<S, L>;
  using C = Complex<V>;
  const int inner = INNER ? INNER : any_inner, step = INNER ? INNER + 1 : any_step;
  blocks.each([&](int, int64_t start) FREQKIT_LAMBDA {
    S *zr = re + start * 2 * L, *zi = im + start * 2 * L;
    const S* turns = twiddles;
    for (int b = 0; b < inner; ++b, zr += 2 * L, zi += 2 * L, turns += 2 * (R - 1))
      fft<R, V>(
          [&](auto ai) FREQKIT_LAMBDA {
            const int64_t i = int64_t(decltype(ai)::value) * step * 2 * L;
            return C{load<L>(zr + i), load<L>(zi + i)};
          },
          [&](auto ki, const C& value) FREQKIT_LAMBDA {
            constexpr int K = decltype(ki)::value;
            const C v = turned<K>(value, turns);
            store<L>(zr + int64_t(K) * step * 2 * L, v.re);
            store<L>(zi + int64_t(K) * step * 2 * L, v.im);
          });
  });
}

template <int R, int L, bool STREAM, class S>
void pass_last(const S* __restrict re, const S* __restrict im, S* out_re, S* out_im, int64_t stride,
               const int* __restrict order, const Blocks blocks) {
  using V = Vec<S, L>;
  using C = Complex<V>;
  const int64_t step = blocks.count * stride;
  blocks.each([&](int block, int64_t start) FREQKIT_LAMBDA {
    const S *const zr = re + start * 2 * L, *const zi = im + start * 2 * L;
    S *const to_re = out_re + order[block] * stride, *const to_im = out_im + order[block] * stride;
    fft<R, V>(
        [&](auto ai) FREQKIT_LAMBDA {
          constexpr int A = decltype(ai)::value;
          return C{load<L>(zr + A * 2 * L), load<L>(zi + A * 2 * L)};
        },
        [&](auto ki, const C& v) FREQKIT_LAMBDA {
          constexpr int K = decltype(ki)::value;
          if constexpr (STREAM) {
            store_streaming<L>(to_re + K * step, v.re);
            store_streaming<L>(to_im + K * step, v.im);
          } else {
            store<L>(to_re + K * step, v.re);
            store<L>(to_im + K * step, v.im);
          }
        });
  });
}

// A DFT of prime length without a codelet, by its definition folded once: p^2 real multiplications for L transforms.
// Sums are taken in chunks, so that rounding does not grow with p. v: [p][re, im][L] in and out; fold: the same size.
template <int L, class S>
void direct(S* v, S* fold, int p, const S* roots) {
  using V = Vec<S, L>;
  const int h = (p - 1) / 2;
  const V first_re = load<L>(v), first_im = load<L>(v + L);
  V total_re = first_re, total_im = first_im;
  for (int j = 1; j <= h; ++j) {
    const S *a = v + int64_t(j) * 2 * L, *b = v + int64_t(p - j) * 2 * L;
    const V sr = load<L>(a) + load<L>(b), si = load<L>(a + L) + load<L>(b + L);
    S* f = fold + int64_t(j - 1) * 4 * L;
    store<L>(f, sr);
    store<L>(f + L, si);
    store<L>(f + 2 * L, V(load<L>(a) - load<L>(b)));
    store<L>(f + 3 * L, V(load<L>(a + L) - load<L>(b + L)));
    total_re += sr;
    total_im += si;
  }
  store<L>(v, total_re);
  store<L>(v + L, total_im);
  for (int k = 1; k <= h; ++k) {
    V ar = first_re, ai = first_im, br = {}, bi = {};
    int turn = 0;
    for (int j0 = 0; j0 < h; j0 += 16) {
      V par = {}, pai = {}, pbr = {}, pbi = {};
      for (int j = j0; j < smaller(j0 + 16, h); ++j) {
        turn += k;
        turn -= turn >= p ? p : 0;
        const S c = roots[2 * turn], s = roots[2 * turn + 1];
        const S* f = fold + int64_t(j) * 4 * L;
        par += load<L>(f) * c;
        pai += load<L>(f + L) * c;
        pbr += load<L>(f + 2 * L) * s;
        pbi += load<L>(f + 3 * L) * s;
      }
      ar += par, ai += pai, br += pbr, bi += pbi;
    }
    S *low = v + int64_t(k) * 2 * L, *high = v + int64_t(p - k) * 2 * L;
    store<L>(low, V(ar - bi));
    store<L>(low + L, V(ai + br));
    store<L>(high, V(ar + bi));
    store<L>(high + L, V(ai - br));
  }
}

template <int L, class S>
void direct_pass(const Pass<S>& pass, const Blocks blocks, int step, const S* re, const S* im, S* out_re, S* out_im,
                 int64_t stride, const int* order, S* scratch) {
  using V = Vec<S, L>;
  const int p = pass.radix;
  const bool last = order != nullptr;
  blocks.each([&](int block, int64_t start) FREQKIT_LAMBDA {
    for (int b = 0; b < pass.inner; ++b) {
      const int64_t base = (start + b) * 2 * L;
      for (int a = 0; a < p; ++a) {
        const int64_t i = base + int64_t(a) * step * 2 * L;
        store<L>(scratch + int64_t(a) * 2 * L, load<L>(re + i));
        store<L>(scratch + int64_t(a) * 2 * L + L, load<L>(im + i));
      }
      direct<L>(scratch, scratch + int64_t(p) * 2 * L, p, pass.roots);
      for (int k = 0; k < p; ++k) {
        V vr = load<L>(scratch + int64_t(k) * 2 * L), vi = load<L>(scratch + int64_t(k) * 2 * L + L);
        int64_t i;
        if (last) {
          i = (order[block] + int64_t(k) * pass.blocks) * stride;
        } else {
          i = base + int64_t(k) * step * 2 * L;
          if (k > 0) {
            const S* w = pass.twiddles + (int64_t(b) * (p - 1) + k - 1) * 2;
            const V turned = vr * w[0] - vi * w[1];
            vi = vr * w[1] + vi * w[0];
            vr = turned;
          }
        }
        store<L>(out_re + i, vr);
        store<L>(out_im + i, vi);
      }
    }
  });
}

// First passes (radix, inner) whose strides are known to the compiler: those of the tuned lengths in plan.cpp.
#define FREQKIT_EACH_TUNED(DO) \
  DO(4, 8) DO(6, 8) DO(4, 16) DO(8, 12) DO(16, 8) DO(14, 16) DO(16, 16) DO(18, 16) DO(20, 16) DO(24, 16)
#define FREQKIT_EACH_FIRST_RADIX(DO) \
  DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16)
#define FREQKIT_EACH_RADIX(DO) FREQKIT_EACH_FIRST_RADIX(DO) DO(17) DO(18) DO(19) DO(20) DO(23) DO(24) DO(32)

template <int L, class S>
void run_in_place(const Plan<S>& plan, int i, int pitch, S* re, S* im, S* scratch) {
  const Pass<S>& pass = plan.pass[i];
  const Blocks blocks = blocks_of(plan, i, pitch);
  const int step = i == 0 ? pitch : pass.inner;
  if (!pass.codelet) return direct_pass<L>(pass, blocks, step, re, im, re, im, 0, nullptr, scratch);
  if (i == 0 && pitch == pass.inner + 1) switch (pass.radix * 100 + pass.inner) {
#define FREQKIT_CASE(R, INNER) \
  case R * 100 + INNER: return pass_in_place<R, INNER, L>(re, im, blocks, 0, 0, pass.twiddles);
      FREQKIT_EACH_TUNED(FREQKIT_CASE)
#undef FREQKIT_CASE
    }
  switch (pass.radix) {
#define FREQKIT_CASE(R) \
  case R: return pass_in_place<R, 0, L>(re, im, blocks, pass.inner, step, pass.twiddles);
    FREQKIT_EACH_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
}

template <int L, bool STREAM, class S>
void run_last(const Plan<S>& plan, int pitch, const S* re, const S* im, S* out_re, S* out_im, int64_t stride,
              S* scratch) {
  const Pass<S>& pass = plan.pass[plan.passes - 1];
  const Blocks blocks = blocks_of(plan, plan.passes - 1, pitch);
  if (!pass.codelet) return direct_pass<L>(pass, blocks, 1, re, im, out_re, out_im, stride, plan.order, scratch);
  switch (pass.radix) {
    case 1:
      store<L>(out_re, load<L>(re));
      store<L>(out_im, load<L>(im));
      return;
#define FREQKIT_CASE(R) \
  case R: return pass_last<R, L, STREAM>(re, im, out_re, out_im, stride, plan.order, blocks);
      FREQKIT_EACH_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
}

template <int L, bool NYQUIST, class S>
bool run_masked(const Plan<S>& plan, const S* x, const S* w, const S* nyquist, S* z) {
  const Pass<S>& pass = plan.pass[0];
  if (!pass.codelet) return false;
  switch (pass.radix * 100 + pass.inner) {
#define FREQKIT_CASE(R, INNER) \
  case R * 100 + INNER: pass_masked<R, INNER, L, NYQUIST>(x, w, nyquist, z, 0, 0, pass.twiddles); return true;
    FREQKIT_EACH_TUNED(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
  switch (pass.radix) {
#define FREQKIT_CASE(R) \
  case R: pass_masked<R, 0, L, NYQUIST>(x, w, nyquist, z, pass.inner, plan.pitch, pass.twiddles); return true;
    FREQKIT_EACH_FIRST_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
  return false;
}

// All passes from z (in place, so z is lost) to out. `pitch`: plan.pitch where z was filled by plan.position, and
// pass[0].inner where its elements are contiguous.
template <int L, bool STREAM = false, class S>
void transform(const Plan<S>& plan, int pitch, S* re, S* im, S* out_re, S* out_im, int64_t stride, S* scratch,
               int first = 0) {
  for (int i = first; i + 1 < plan.passes; ++i) run_in_place<L>(plan, i, pitch, re, im, scratch);
  run_last<L, STREAM>(plan, pitch, re, im, out_re, out_im, stride, scratch);
}

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

// All rows of one block of columns: z[ky] for all ky. Nothing of a group that is off is read.
template <class S, int L>
void join_columns(const PlaneShape& shape, const int* position, const Scratch<S, L>& s, const uint8_t* live,
                  const S* plane, int x0) {
  using V = Vec<S, L>;
  const int height = shape.height, rows = shape.rows();
  for (int group = 0; group < shape.groups(); ++group) {
    const S* t = plane + group * s.pitch + int64_t(x0) * 2 * L;
    const int first = group * L;
    if (!live[group]) {
      const auto clear = [&](int row) FREQKIT_LAMBDA {
        store<L>(s.z + int64_t(position[row]) * 2 * L, V{});
        store<L>(s.z + int64_t(position[row]) * 2 * L + L, V{});
      };
      for (int ky = first; ky < smaller(first + L, rows); ++ky) {
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
    if (rows.passes > 1)
      fused = nyquist ? run_masked<L, true>(rows, x, w, n, s.z) : run_masked<L, false>(rows, x, w, n, s.z);
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
  masked_rows<S, L>(shape, rows, packed, weights, live, cold, s, s.t);
  for (int x0 = 0; x0 < width; x0 += 2 * L) {
    join_columns<S, L>(shape, columns.position, s, live, s.t, x0);
    const int count = smaller(2 * L, width - x0);
    if (count == 2 * L && out.dtype == dtype_of<S>() && out.column_stride == 1 && out.scale == 1) {
      S* to = static_cast<S*>(out.data) + x0;
      if (stream)
        transform<L, true>(columns, columns.pitch, s.z, s.z + L, to, to + L, out.row_stride, s.rest);
      else
        transform<L>(columns, columns.pitch, s.z, s.z + L, to, to + L, out.row_stride, s.rest);
      continue;
    }
    transform<L>(columns, columns.pitch, s.z, s.z + L, s.y, s.y + L, 2 * L, s.rest);
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
  for (int c = 0; c < 3; ++c)
    masked_rows<S, L>(shape, rows, packed + c * shape.size(), weights, live, cold, s, s.t + c * s.plane);
  const bool fast = out.dtype == dtype_of<S>() || (out.dtype == Number::bf16 && sizeof(S) == 4);
  for (int x0 = 0; x0 < width; x0 += 2 * L) {
    const int count = smaller(2 * L, width - x0);
    for (int c = 0; c < 3; ++c) {
      join_columns<S, L>(shape, columns.position, s, live, s.t + c * s.plane, x0);
      S* to = s.y + c * s.line;
      transform<L>(columns, columns.pitch, s.z, s.z + L, to, to + L, 2 * L, s.rest);
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

// ---- masks ----------------------------------------------------------------------------------------------------------

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

template <class S, int L>
bool weights_of(const PlaneShape& shape, const MaskView& mask, double scale, S* weights, uint8_t* live, S* memory) {
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
    live[group] = highest(any) != 0;
    every = any > every ? any : every;
    any = Bits{};
  }
  return highest(every) < kInfinity;
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

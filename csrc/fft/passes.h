// The passes of a plan over lane vectors. Included by kernels that are compiled once per instruction set, and like them
// without the standard library's templates.
#pragma once

#include "../common/simd.h"
#include "codelets.h"
#include "plan.h"
#include "radices.h"

namespace freqkit {
inline namespace FREQKIT_SIMD_NAMESPACE {
namespace {

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

// Inputs that are zeros: a first pass of an even radix R may be told that of its inputs a only a < edge and
// a >= R - edge are others (frequencies below edge/R of the length, as after a low-pass mask). The others are neither
// loaded nor multiplied, and what follows from zeros alone is not computed. Level 1 and 2 of the edge; 0: all inputs.
constexpr int kMostLevel = 2;
template <int R>
constexpr int edge_of(int level) {
  return R % 2 != 0 || level <= 0 || 2 * level * ((R + 4) / 8) >= R ? 0 : level * ((R + 4) / 8);
}
template <int R, int EDGE>
constexpr bool input_is_live(int a) {
  return EDGE == 0 || a < EDGE || a >= R - EDGE;
}

// First pass along kx, multiplying by the mask on the way in. `nyquist` is the masked row H/2, turned by 90 degrees,
// which joins lane 0.
template <int R, int INNER, int L, bool NYQUIST, int EDGE, class S>
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
          if constexpr (!input_is_live<R, EDGE>(decltype(ai)::value)) return C{V{}, V{}};
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

template <int R, int EDGE, int L, class S>
FREQKIT_INLINE void butterfly_in_place(S* re, S* im, int64_t step, const S* turns) {
  using V = Vec<S, L>;
  using C = Complex<V>;
  fft<R, V>(
      [&](auto ai) FREQKIT_LAMBDA {
        constexpr int A = decltype(ai)::value;
        if constexpr (!input_is_live<R, EDGE>(A)) return C{V{}, V{}};
        return C{load<L>(re + A * step), load<L>(im + A * step)};
      },
      [&](auto ki, const C& value) FREQKIT_LAMBDA {
        constexpr int K = decltype(ki)::value;
        const C v = turned<K>(value, turns);
        store<L>(re + K * step, v.re);
        store<L>(im + K * step, v.im);
      });
}

// The first pass in place with inputs that are zeros. Butterfly 0 takes all of its inputs: row H/2 is one of them, and
// holds what rounding left in the row that it shares with row 0.
template <int R, int INNER, int L, int EDGE, class S>
void pass_edges(S* __restrict re, S* __restrict im, const S* __restrict twiddles) {
  constexpr int64_t step = (INNER + 1) * 2 * L;
  butterfly_in_place<R, 0, L>(re, im, step, twiddles);
  for (int b = 1; b < INNER; ++b)
    butterfly_in_place<R, EDGE, L>(re + b * 2 * L, im + b * 2 * L, step, twiddles + b * 2 * (R - 1));
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
#define FREQKIT_CASE(R, COST) \
  case R: return pass_in_place<R, 0, L>(re, im, blocks, pass.inner, step, pass.twiddles);
    FREQKIT_EACH_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
    default: FREQKIT_TRAP();
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
#define FREQKIT_CASE(R, COST) \
  case R: return pass_last<R, L, STREAM>(re, im, out_re, out_im, stride, plan.order, blocks);
      FREQKIT_EACH_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
    default: FREQKIT_TRAP();
  }
}

// The most inputs next to a first pass's edges of which the pass knows a shorter form, in elements of the length; 0
// where it knows none. Lengths with a measured cut have them.
template <class S>
int edge_elements(const Plan<S>& plan, int level) {
  if (plan.passes < 2) return 0;
  switch (plan.pass[0].radix * 100 + plan.pass[0].inner) {
#define FREQKIT_CASE(R, INNER) \
  case R * 100 + INNER: return edge_of<R>(level) * INNER;
    FREQKIT_EACH_TUNED(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
  return 0;
}

template <int R, int INNER, int L, bool NYQUIST, class S>
void pass_masked_at(int level, const S* x, const S* w, const S* nyquist, S* z, const S* twiddles) {
  if constexpr (edge_of<R>(2) != 0)
    if (level == 2) return pass_masked<R, INNER, L, NYQUIST, edge_of<R>(2)>(x, w, nyquist, z, 0, 0, twiddles);
  if constexpr (edge_of<R>(1) != 0)
    if (level == 1) return pass_masked<R, INNER, L, NYQUIST, edge_of<R>(1)>(x, w, nyquist, z, 0, 0, twiddles);
  pass_masked<R, INNER, L, NYQUIST, 0>(x, w, nyquist, z, 0, 0, twiddles);
}
template <int R, int INNER, int L, class S>
void pass_edges_at(int level, S* re, S* im, const S* twiddles) {
  if constexpr (edge_of<R>(2) != 0)
    if (level == 2) return pass_edges<R, INNER, L, edge_of<R>(2)>(re, im, twiddles);
  if constexpr (edge_of<R>(1) != 0) pass_edges<R, INNER, L, edge_of<R>(1)>(re, im, twiddles);
}
// The first pass of a plan whose inputs are zeros but for those within edge_elements(level) of its ends.
template <int L, class S>
void run_edges(const Plan<S>& plan, int level, S* re, S* im) {
  switch (plan.pass[0].radix * 100 + plan.pass[0].inner) {
#define FREQKIT_CASE(R, INNER) \
  case R * 100 + INNER: return pass_edges_at<R, INNER, L>(level, re, im, plan.pass[0].twiddles);
    FREQKIT_EACH_TUNED(FREQKIT_CASE)
#undef FREQKIT_CASE
    default: FREQKIT_TRAP();
  }
}

template <int L, bool NYQUIST, class S>
bool run_masked(const Plan<S>& plan, int level, const S* x, const S* w, const S* nyquist, S* z) {
  const Pass<S>& pass = plan.pass[0];
  if (!pass.codelet) return false;
  switch (pass.radix * 100 + pass.inner) {
#define FREQKIT_CASE(R, INNER) \
  case R * 100 + INNER: pass_masked_at<R, INNER, L, NYQUIST>(level, x, w, nyquist, z, pass.twiddles); return true;
    FREQKIT_EACH_TUNED(FREQKIT_CASE)
#undef FREQKIT_CASE
  }
  switch (pass.radix) {
#define FREQKIT_CASE(R, COST) \
  case R: pass_masked<R, 0, L, NYQUIST, 0>(x, w, nyquist, z, pass.inner, plan.pitch, pass.twiddles); return true;
    FREQKIT_EACH_SMALL_RADIX(FREQKIT_CASE)
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

}  // namespace
}  // namespace FREQKIT_SIMD_NAMESPACE
}  // namespace freqkit

// The masked inverse in one kernel, for the square sizes with a plan: nothing between spectrum and image touches global
// memory.
//
// A block computes the output rows h = s (mod D) of one plane, or of P small ones. Their spectrum is the fold
//   F_s[k', kx] = w_N^(s k') sum_q w_D^(s q) (m X)[k' + q N/D, kx],   w_n = exp(2 pi i/n), rows beyond N/2 by symmetry
// which is Hermitian again, so rows k' = 0..R, R = N/(2D), suffice; rows 0 and R transform to real rows and travel as
// F_0 + i F_R. Then, with x = k1 + 16 k2 and kx = B a + b, B = N/16:
//   phase A  task (row, b): fold while loading 16 elements kx = B a + b, transform over a, twiddle   -> 17 b + k1
//   phase B  task (row, k1): transform over b, in place                                             -> x + x/16
//   phase C  thread x: the column's real transform of length 2R in registers, stored as it is
// With the row pitch 17 B, sixteen neighbouring threads touch sixteen different 8-byte banks in every phase.
#pragma once

#include "device_plan.h"

namespace freqkit::device {

constexpr int kSplit = 16;  // the first radix along W

template <int N_, int FOLDS_, int PLANES_, int BLOCKS_PER_SM>
struct Fused {
  static constexpr int N = N_, D = FOLDS_, P = PLANES_;
  static constexpr int B = N / kSplit, R = N / (2 * D), M = N / D;
  static constexpr int pitch = (kSplit + 1) * B, plane_pitch = R * pitch;
  static constexpr int threads = N * P, min_blocks = BLOCKS_PER_SM;
  static constexpr size_t shared_bytes = size_t(P) * plane_pitch * sizeof(Complex<float>);
  static_assert(N % kSplit == 0 && N % (2 * D) == 0 && R % 2 == 0 && threads <= 1024);
};

struct FusedTables {
  const Complex<float>* twiddles;  // [k1][b]: w_N^(b k1)
  const Complex<float>* roots;     // [k']: w_N^k'
};

struct FusedParams {
  FusedTables tables;
  const Complex<float>* spectrum;  // [images, N/2+1, N]
  const uint32_t* words;           // bits:  [masks, N/2+1, B]; bit a: m_eff > 0 at kx = B a + b, bit 16+a: m_eff = 1
  const float* weights;            // dense: [masks, N/2+1, N], m_eff
  ImageView out;
  void* out_data;
  float scale;
  int64_t images, first_image, image_count;  // image planes of this launch
  int64_t first_mask;                        // of the whole call; words and weights start there
  int channels;
  bool paired;
};

// One row of the folded spectrum at kx = B a + b for all a, with the scale.
template <class Plan, bool WORDS>
__device__ FREQKIT_INLINE void load_folded(const FusedParams& p, const Complex<float>* plane, int64_t mask, bool inside,
                                           int row, int b, int s, Complex<float> (&v)[kSplit]) {
  constexpr int N = Plan::N, D = Plan::D, B = Plan::B, M = Plan::M;
#pragma unroll
  for (int a = 0; a < kSplit; ++a) v[a] = {0.0f, 0.0f};
#pragma unroll
  for (int q = 0; q < D; ++q) {
    // Row k' + q M of the full spectrum, or the conjugate of its mirror.
    const bool mirrored = D == 1 ? false : q >= D / 2;
    const int ky = mirrored ? N - row - q * M : row + q * M;
    const int quarter = (s * q * (4 / (D < 4 ? D : 4))) & 3;  // w_D^(s q) = i^quarter for D <= 4
    const float turn_re = quarter == 0 ? 1.0f : quarter == 2 ? -1.0f : 0.0f;
    const float turn_im = quarter == 1 ? 1.0f : quarter == 3 ? -1.0f : 0.0f;
    const Complex<float>* const from = plane + int64_t(ky) * N;
    uint32_t word = 0;
    const float* weights = nullptr;
    if constexpr (WORDS) {
      const int column = mirrored && b > 0 ? B - b : b;
      word = load_const_if(inside, p.words + (mask * (N / 2 + 1) + ky) * B + column);
    } else {
      weights = p.weights + (mask * (N / 2 + 1) + ky) * N;
    }
#pragma unroll
    for (int a = 0; a < kSplit; ++a) {
      // The mirror of kx = B a + b is B (15 - a) + (B - b), or B ((16 - a) mod 16) when b = 0.
      const int straight = a * B + b;
      const int kx = mirrored ? (straight == 0 ? 0 : N - straight) : straight;
      Complex<float> value;
      if constexpr (WORDS) {
        const int bit = mirrored ? (b > 0 ? kSplit - 1 - a : (kSplit - a) % kSplit) : a;
        value = load_const_if((word >> bit & 1u) != 0, from + kx);
        const float weight = (word >> (bit + kSplit) & 1u) != 0 ? 1.0f : 0.5f;
        value = {value.re * weight, value.im * weight};
      } else {
        const float weight = load_const_if(inside, weights + kx);
        value = load_const_if(weight != 0.0f, from + kx);
        value = {value.re * weight, value.im * weight};
      }
      if (mirrored) value.im = -value.im;
      if constexpr (D == 1) {
        v[a] = value;
      } else if constexpr (D == 2) {
        v[a] = {v[a].re + value.re * turn_re, v[a].im + value.im * turn_re};
      } else {
        static_assert(D == 4);
        v[a].re += value.re * turn_re - value.im * turn_im;
        v[a].im += value.re * turn_im + value.im * turn_re;
      }
    }
  }
  if (D == 1 || s == 0) {
#pragma unroll
    for (int a = 0; a < kSplit; ++a) v[a] = {v[a].re * p.scale, v[a].im * p.scale};
  } else {
    Complex<float> turn = load_const(p.tables.roots + s * row);
    turn = {turn.re * p.scale, turn.im * p.scale};
#pragma unroll
    for (int a = 0; a < kSplit; ++a)
      v[a] = {v[a].re * turn.re - v[a].im * turn.im, v[a].re * turn.im + v[a].im * turn.re};
  }
}

template <class Plan, bool WORDS>
__device__ FREQKIT_INLINE void phase_a(const FusedParams& p, Complex<float>* shared, int64_t mask_and_group, int s) {
  constexpr int N = Plan::N, B = Plan::B, R = Plan::R;
  for (int task = threadIdx.x; task < Plan::P * R * B; task += Plan::threads) {
    const int b = task % B, row = task / B % R, local = task / (B * R);
    const int64_t groups = (p.image_count + Plan::P - 1) / Plan::P;
    const int64_t in_launch = mask_and_group % groups * Plan::P + local;
    const int64_t image = p.first_image + in_launch;
    const bool inside = in_launch < p.image_count;
    const int64_t mask = p.paired ? image / p.channels - p.first_mask : mask_and_group / groups;
    const Complex<float>* const plane = p.spectrum + image * (N / 2 + 1) * N;
    Complex<float> v[kSplit];
    load_folded<Plan, WORDS>(p, plane, mask, inside, row, b, s, v);
    if (row == 0) {
      Complex<float> last[kSplit];
      load_folded<Plan, WORDS>(p, plane, mask, inside, R, b, s, last);
#pragma unroll
      for (int a = 0; a < kSplit; ++a) v[a] = {v[a].re - last[a].im, v[a].im + last[a].re};
    }
    fft<kSplit>(v);
    Complex<float>* const to = shared + task * (kSplit + 1);  // = plane, row and 17 b
    store_shared(to, v[0]);
#pragma unroll
    for (int k1 = 1; k1 < kSplit; ++k1) {
      const Complex<float> w = load_const(p.tables.twiddles + k1 * B + b);
      store_shared(to + k1, Complex<float>{v[k1].re * w.re - v[k1].im * w.im, v[k1].re * w.im + v[k1].im * w.re});
    }
  }
}

template <class Plan>
__device__ FREQKIT_INLINE void phase_b(Complex<float>* shared) {
  constexpr int B = Plan::B;
  for (int task = threadIdx.x; task < Plan::P * Plan::R * kSplit; task += Plan::threads) {
    Complex<float>* const at = shared + task / kSplit * Plan::pitch + task % kSplit;
    Complex<float> v[B];
#pragma unroll
    for (int b = 0; b < B; ++b) v[b] = load_shared(at + b * (kSplit + 1));
    fft<B>(v);
#pragma unroll
    for (int b = 0; b < B; ++b) store_shared(at + b * (kSplit + 1), v[b]);
  }
}

// From the half spectrum F_0 + i F_R, F_1 .. F_(R-1) of a real sequence of length 2R to the spectrum of its even and odd
// elements as one complex sequence of length R.
template <int R>
__device__ FREQKIT_INLINE void join_halves(Complex<float> (&v)[R]) {
  v[0] = {v[0].re + v[0].im, v[0].re - v[0].im};
  unroll<(R - 1) / 2>([&](auto index) {
    constexpr int k = decltype(index)::value + 1;
    const Complex<float> f = v[k], g = v[R - k];
    const Complex<float> even = {f.re + g.re, f.im - g.im};
    const Complex<float> odd = rotate<k, 2 * R>(Complex<float>{f.re - g.re, f.im + g.im});
    v[k] = {even.re - odd.im, even.im + odd.re};
    v[R - k] = {even.re + odd.im, odd.re - even.im};
  });
  v[R / 2] = {2.0f * v[R / 2].re, -2.0f * v[R / 2].im};
}

template <class Plan, class E>
__device__ FREQKIT_INLINE void store_column(const ImageView& out, E* to, int s, const Complex<float> (&v)[Plan::R]) {
  if (out.column == 1) {
    to += s * Plan::N;
#pragma unroll
    for (int n = 0; n < Plan::R; ++n) {
      store_streaming(to + (2 * n) * Plan::D * Plan::N, narrow<E>(v[n].re));
      store_streaming(to + (2 * n + 1) * Plan::D * Plan::N, narrow<E>(v[n].im));
    }
  } else {
    to += s * out.row;
    const int64_t step = Plan::D * out.row;
#pragma unroll
    for (int n = 0; n < Plan::R; ++n) {
      store_streaming(to, narrow<E>(v[n].re));
      store_streaming(to + step, narrow<E>(v[n].im));
      to += 2 * step;
    }
  }
}

template <class Plan>
__device__ FREQKIT_INLINE void phase_c(const FusedParams& p, const Complex<float>* shared, int64_t mask_and_group, int s) {
  const int local = threadIdx.x / Plan::N, x = threadIdx.x % Plan::N;
  const int64_t groups = (p.image_count + Plan::P - 1) / Plan::P;
  const int64_t in_launch = mask_and_group % groups * Plan::P + local;
  if (in_launch >= p.image_count) return;
  const int64_t image = p.first_image + in_launch;
  const int64_t plane = p.paired ? image : (p.first_mask + mask_and_group / groups) * p.images + image;
  const Complex<float>* const column = shared + local * Plan::plane_pitch + x + x / kSplit;
  Complex<float> v[Plan::R];
#pragma unroll
  for (int k = 0; k < Plan::R; ++k) v[k] = load_shared(column + k * Plan::pitch);
  join_halves<Plan::R>(v);
  fft<Plan::R>(v);
  const int64_t at = plane / p.channels * p.out.image + plane % p.channels * p.out.channel + x * p.out.column;
  switch (p.out.type) {
    case Number::f32: return store_column<Plan>(p.out, static_cast<float*>(p.out_data) + at, s, v);
    case Number::f64: return store_column<Plan>(p.out, static_cast<double*>(p.out_data) + at, s, v);
    case Number::f16: return store_column<Plan>(p.out, static_cast<Half*>(p.out_data) + at, s, v);
    default: return store_column<Plan>(p.out, static_cast<BFloat16*>(p.out_data) + at, s, v);
  }
}

template <class Plan, bool WORDS>
__global__ void __launch_bounds__(Plan::threads, Plan::min_blocks) fused_inverse_kernel(FusedParams p) {
  DYNAMIC_SHARED(Complex<float>, shared);
  const int s = Plan::D == 1 ? 0 : int(blockIdx.x % Plan::D);
  const int64_t mask_and_group = blockIdx.x / Plan::D;
  phase_a<Plan, WORDS>(p, shared, mask_and_group, s);
  __syncthreads();
  phase_b<Plan>(shared);
  __syncthreads();
  phase_c<Plan>(p, shared, mask_and_group, s);
}

// ---- what the kernel reads besides the spectrum ---------------------------------------------------------------------

struct FusedTablesParams {
  Complex<float>* twiddles;
  Complex<float>* roots;
  int n;
};

__global__ void __launch_bounds__(kThreads) fused_tables_kernel(FusedTablesParams p) {
  const int blocks_b = p.n / kSplit;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x) {
    double c, s;
    root_of_unity(i, p.n, &c, &s);
    store_global(p.roots + i, Complex<float>{float(c), float(s)});
    root_of_unity(i / blocks_b * (i % blocks_b) % p.n, p.n, &c, &s);
    store_global(p.twiddles + i, Complex<float>{float(c), float(s)});
  }
}

struct FusedMaskParams {
  MaskView mask;
  uint32_t* words;  // [count, N/2+1, B] or
  float* weights;   // [count, N/2+1, N]
  int64_t first, count;
  int n;
};

__global__ void __launch_bounds__(kThreads) fused_mask_kernel(FusedMaskParams p) {
  const int half = p.n / 2 + 1, columns = p.words != nullptr ? p.n / kSplit : p.n;
  const int64_t total = p.count * half * columns;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += int64_t(gridDim.x) * blockDim.x) {
    const int column = int(i % columns), ky = int(i / columns % half);
    const int64_t mask = p.first + i / columns / half;
    if (p.words == nullptr) {
      store_global(p.weights + i, mask_weight<float>(p.mask, mask, ky, column, p.n, p.n));
      continue;
    }
    uint32_t word = 0;
    for (int a = 0; a < kSplit; ++a) {
      const float weight = mask_weight<float>(p.mask, mask, ky, a * columns + column, p.n, p.n);
      word |= (weight > 0.0f ? 1u << a : 0u) | (weight == 1.0f ? 0x10000u << a : 0u);
    }
    store_global(p.words + i, word);
  }
}

// ---- which plan, and the launches -----------------------------------------------------------------------------------

constexpr int64_t kFusedSpectra = 16 << 20;  // bytes of spectra that all masks pass over before the next images
constexpr int64_t kFusedMasks = 16 << 20;    // bytes of mask words in work memory

// size, folds, planes per block, blocks per multiprocessor. The first that fits the device's shared memory is taken; where
// none does, or for other sizes, the two-pass kernels run.
template <class F>
bool with_fused_plan(int height, int width, size_t shared_limit, F&& body) {
  const auto fits = [&](auto plan) {
    using Plan = decltype(plan);
    return height == Plan::N && width == Plan::N && Plan::shared_bytes <= shared_limit;
  };
  const auto attempt = [&](auto... plans) { return ((fits(plans) ? (body(plans), true) : false) || ...); };
  return attempt(Fused<32, 1, 8, 2>{}, Fused<64, 1, 4, 2>{}, Fused<96, 1, 2, 2>{}, Fused<128, 2, 2, 2>{},
                 Fused<224, 2, 1, 2>{}, Fused<224, 4, 1, 2>{}, Fused<256, 4, 1, 2>{}, Fused<288, 4, 1, 1>{},
                 Fused<320, 4, 1, 1>{}, Fused<384, 4, 1, 1>{});
}

inline bool has_fused_plan(int64_t height, int64_t width, size_t shared_limit) {
  if (height != width || height > 4096) return false;
  return with_fused_plan(int(height), int(width), shared_limit, [](auto) {});
}

struct FusedGeometry {
  int64_t masks_per_launch = 1, images_per_launch = 1;
  size_t twiddles = 0, roots = 0, masks = 0, bytes = 0;  // offsets in work memory
};

// planes: image planes B*C; masks: 1 when paired, then the mask of each image is in work memory beside its planes.
inline FusedGeometry fused_geometry(int n, int folds, int64_t masks, int64_t images, int channels, bool paired, bool bits) {
  FusedGeometry g;
  const int64_t mask_bytes = int64_t(n / 2 + 1) * (bits ? n / kSplit : n) * 4;
  const int64_t plane_bytes = int64_t(n / 2 + 1) * n * 8;
  const int64_t most_masks = std::max<int64_t>(kFusedMasks / mask_bytes, 1);
  const int64_t resident = std::max<int64_t>(kFusedSpectra / plane_bytes, 1);
  int64_t mask_slots;
  if (paired) {
    g.images_per_launch = std::min(std::max<int64_t>(images / channels, 1), most_masks) * channels;
    mask_slots = g.images_per_launch / channels;
  } else {
    g.masks_per_launch = std::clamp<int64_t>(masks, 1, most_masks);
    // With few masks, more images than stay in the cache are better than a small grid.
    g.images_per_launch = std::max(resident, (int64_t(1) << 14) / g.masks_per_launch);
    mask_slots = g.masks_per_launch;
  }
  const int64_t most_images = std::max<int64_t>((int64_t(1) << 30) / (g.masks_per_launch * folds), 1);
  g.images_per_launch = std::min({g.images_per_launch, std::max<int64_t>(images, 1), most_images});
  if (paired) g.images_per_launch = std::max<int64_t>(g.images_per_launch / channels, 1) * channels;
  g.twiddles = 0;
  g.roots = (size_t(n) * 8 + 255) / 256 * 256;
  g.masks = 2 * g.roots;
  g.bytes = g.masks + size_t(mask_slots * mask_bytes);
  return g;
}

inline Shape fused_shape(int threads, size_t shared_bytes, int folds, int planes_per_block, int64_t masks, int64_t images) {
  Shape shape;
  shape.blocks = unsigned(folds * masks * ((images + planes_per_block - 1) / planes_per_block));
  shape.threads = unsigned(threads);
  shape.shared_bytes = shared_bytes;
  return shape;
}

}  // namespace freqkit::device

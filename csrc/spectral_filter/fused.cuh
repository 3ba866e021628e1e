// The masked inverse in one kernel, for the square sizes with a plan: nothing between spectrum and image
// touches global memory.
//
// A block computes the output rows h = s (mod D) of one plane, or of P small ones. Their spectrum is the fold
//   F_s[k', kx] = w_N^(s k') sum_q w_D^(s q) (m X)[k' + q N/D, kx],   w_n = exp(2 pi i/n), rows beyond N/2 by
//   symmetry
// which is Hermitian again, so rows k' = 0..R, R = N/(2D), suffice; rows 0 and R transform to real rows and
// travel as F_0 + i F_R. Then, with x = k1 + 16 k2 and kx = B a + b, B = N/16:
//   phase A  task (row, b): fold while loading 16 elements kx = B a + b, transform over a, twiddle   -> 17 b
//   + k1 phase B  task (row, k1): transform over b, in place                                             -> x
//   + x/16 phase C  thread x: the column's real transform of length 2R in registers, stored as it is
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
  static constexpr size_t shared_bytes = size_t(P) * (plane_pitch * sizeof(Complex<float>) + 24);
  static_assert(N % kSplit == 0 && N % (2 * D) == 0 && R % 2 == 0 && threads <= 1024 && (D == 1 || D == 2 || D == 4));
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

// v[a] += factor * value of one masked row at kx = B a + b, or of its mirror's conjugate, which stands for
// row -ky.
template <class Plan, bool WORDS, bool MIRRORED>
__device__ FREQKIT_INLINE void add_row(const FusedParams& p, const Complex<float>* row, int64_t mask_row, bool inside,
                                       int b, const Complex<float>& factor, Complex<float> (&v)[kSplit]) {
  constexpr int N = Plan::N, B = Plan::B;
  // The mirror of kx = B a + b is B (15 - a) + (B - b), or B ((16 - a) mod 16) when b = 0.
  const Complex<float>* const first = row + (MIRRORED ? (b > 0 ? N - b : 0) : b);
  const Complex<float>* const others = row + (MIRRORED ? N - b : b);
  [[maybe_unused]] uint32_t word = 0;
  [[maybe_unused]] const float* weights = nullptr;
  if constexpr (WORDS) {
    word = load_const_if(inside, p.words + mask_row * B + (MIRRORED && b > 0 ? B - b : b));
    if constexpr (MIRRORED) {
      word = __brev(word);
      const uint32_t any = word >> 16, both = word & 0xffffu;
      word = b > 0 ? any | both << 16 : ((any << 1 | any >> 15) & 0xffffu) | (both << 1 | both >> 15) << 16;
    }
  } else {
    weights = p.weights + mask_row * N;
  }
#pragma unroll
  for (int a = 0; a < kSplit; ++a) {
    const Complex<float>* const at = a == 0 ? first : others + (MIRRORED ? -a * B : a * B);
    Complex<float> raw;
    float weight;
    if constexpr (WORDS) {
      raw = load_const_if_bit(word, a, at);
      weight = (word >> (a + kSplit) & 1u) != 0 ? 1.0f : 0.5f;
    } else {
      weight = load_const_if(inside, weights + (at - row));
      raw = load_const_if(weight != 0.0f, at);
    }
    const float re = raw.re * weight, im = MIRRORED ? -raw.im * weight : raw.im * weight;
    v[a] = {v[a].re + re * factor.re - im * factor.im, v[a].im + re * factor.im + im * factor.re};
  }
}

// Row k' of the folded spectrum, times the scale, added to v; `quarter` more turns by i^quarter.
template <class Plan, bool WORDS>
__device__ FREQKIT_INLINE void add_folded(const FusedParams& p, const Complex<float>* plane, int64_t mask_row, int row,
                                          int b, int s, int quarter, Complex<float> (&v)[kSplit]) {
  constexpr int N = Plan::N, D = Plan::D, M = Plan::M;
  Complex<float> factor{p.scale, 0.0f};
  if (D > 1 && s > 0) {
    const Complex<float> root = load_const(p.tables.roots + s * row);
    factor = {root.re * p.scale, root.im * p.scale};
  }
#pragma unroll 1
  for (int q = 0; q < D; ++q) {
    const int turns = (quarter + s * q * (4 / D)) & 3;  // w_D^(s q) = i^(4 s q/D)
    const Complex<float> turned = turns == 0   ? factor
                                  : turns == 1 ? Complex<float>{-factor.im, factor.re}
                                  : turns == 2 ? Complex<float>{-factor.re, -factor.im}
                                               : Complex<float>{factor.im, -factor.re};
    if (D > 1 && q >= D / 2) {
      const int ky = N - row - q * M;
      add_row<Plan, WORDS, true>(p, plane + int64_t(ky) * N, mask_row + ky, mask_row >= 0, b, turned, v);
    } else {
      const int ky = row + q * M;
      add_row<Plan, WORDS, false>(p, plane + int64_t(ky) * N, mask_row + ky, mask_row >= 0, b, turned, v);
    }
  }
}

// Where a block's planes lie; worked out once and kept in shared memory, because registers are scarce in
// phase C.
struct FusedItem {
  int64_t spectrum;  // offset of the plane
  int64_t mask_row;  // first row of its mask, or -1 for a plane that is not there
  int64_t out;       // offset of row s, column 0
};

template <class Plan>
__device__ FREQKIT_INLINE void find_items(const FusedParams& p, FusedItem* items) {
  const int local = threadIdx.x;
  if (local >= Plan::P) return;
  const int s = int(blockIdx.x % Plan::D);
  const int64_t block = blockIdx.x / Plan::D, groups = (p.image_count + Plan::P - 1) / Plan::P;
  const int64_t in_launch = block % groups * Plan::P + local, image = p.first_image + in_launch;
  const int64_t mask = p.paired ? image / p.channels - p.first_mask : block / groups;
  const int64_t plane = p.paired ? image : (p.first_mask + mask) * p.images + image;
  store_shared(&items[local].spectrum, image * (Plan::N / 2 + 1) * Plan::N);
  store_shared(&items[local].mask_row, in_launch < p.image_count ? mask * (Plan::N / 2 + 1) : int64_t(-1));
  store_shared(&items[local].out,
               plane / p.channels * p.out.image + plane % p.channels * p.out.channel + s * p.out.row);
}

template <class Plan, bool WORDS>
__device__ FREQKIT_INLINE void phase_a(const FusedParams& p, Complex<float>* shared, const FusedItem* items) {
  constexpr int B = Plan::B, R = Plan::R;
  const int s = int(blockIdx.x % Plan::D);
  for (int task = threadIdx.x; task < Plan::P * R * B; task += Plan::threads) {
    const int b = task % B, row = task / B % R, local = task / (B * R);
    const Complex<float>* const plane = p.spectrum + load_shared(&items[local].spectrum);
    const int64_t mask_row = load_shared(&items[local].mask_row);
    Complex<float> v[kSplit] = {};
#pragma unroll 1
    for (int part = 0; part < (row == 0 ? 2 : 1); ++part)  // F_0 + i F_R
      add_folded<Plan, WORDS>(p, plane, mask_row, row + part * R, b, s, part, v);
    fft<kSplit>(v);
    const Complex<float>* const twiddles = p.tables.twiddles + b;
    Complex<float>* const to = shared + task * (kSplit + 1);  // = plane, row and 17 b
    store_shared(to, v[0]);
#pragma unroll
    for (int k1 = 1; k1 < kSplit; ++k1) {
      const Complex<float> w = load_const(twiddles + k1 * B);
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

// From the half spectrum F_0 + i F_R, F_1 .. F_(R-1) of a real sequence of length 2R to the spectrum of its
// even and odd elements as one complex sequence of length R.
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

// The transform's outputs go to memory as they arise; the column of a plane never stands whole in registers
// twice.
template <class Plan, class E, bool CONTIGUOUS>
__device__ FREQKIT_INLINE void finish_column(const FusedParams& p, const Complex<float>* column, const FusedItem* item,
                                             int x) {
  Complex<float> v[Plan::R];
#pragma unroll
  for (int k = 0; k < Plan::R; ++k) v[k] = load_shared(column + k * Plan::pitch);
  join_halves<Plan::R>(v);
  fft<Plan::R>(v);
  const int64_t step = CONTIGUOUS ? Plan::D * Plan::N : Plan::D * p.out.row;
  E* to = static_cast<E*>(p.out_data) + load_shared(&item->out) + x * (CONTIGUOUS ? 1 : p.out.column);
  const auto store = [](E* at, float value) { store_streaming(at, narrow<E>(value)); };
#pragma unroll
  for (int n = 0; n < Plan::R; ++n) {
    if (CONTIGUOUS) {
      store(to + 2 * n * Plan::D * Plan::N, v[n].re);
      store(to + (2 * n + 1) * Plan::D * Plan::N, v[n].im);
    } else {
      store(to, v[n].re);
      store(to + step, v[n].im);
      to += 2 * step;
    }
  }
}

// The largest shared memory of a block on the architecture that is compiled for; plans beyond it are never
// launched there.
#if !defined(__CUDA_ARCH__)
constexpr size_t kArchitectureShared = size_t(1) << 20;
#elif __CUDA_ARCH__ < 800
constexpr size_t kArchitectureShared = 64 * 1024;
#elif __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
constexpr size_t kArchitectureShared = 99 * 1024;
#elif __CUDA_ARCH__ < 900
constexpr size_t kArchitectureShared = 163 * 1024;
#else
constexpr size_t kArchitectureShared = 227 * 1024;
#endif

template <class Plan, class E, bool CONTIGUOUS>
__global__ void __launch_bounds__(Plan::threads, Plan::min_blocks) fused_inverse_kernel(FusedParams p) {
  if constexpr (Plan::shared_bytes <= kArchitectureShared) {
    DYNAMIC_SHARED(Complex<float>, shared);
    FusedItem* const items = reinterpret_cast<FusedItem*>(shared + Plan::P * Plan::plane_pitch);
    find_items<Plan>(p, items);
    __syncthreads();
    if (p.words != nullptr)
      phase_a<Plan, true>(p, shared, items);
    else
      phase_a<Plan, false>(p, shared, items);
    __syncthreads();
    phase_b<Plan>(shared);
    __syncthreads();
    const int local = Plan::P == 1 ? 0 : threadIdx.x / Plan::N, x = threadIdx.x - local * Plan::N;
    if (Plan::P > 1 && load_shared(&items[local].mask_row) < 0) return;
    finish_column<Plan, E, CONTIGUOUS>(p, shared + local * Plan::plane_pitch + x + x / kSplit, items + local, x);
  }
}

// ---- what the kernel reads besides the spectrum
// ---------------------------------------------------------------------

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

// ---- which plan, and the launches
// -----------------------------------------------------------------------------------

constexpr int64_t kFusedSpectra = 16 << 20;  // bytes of spectra that all masks pass over before the next images
constexpr int64_t kFusedMasks = 16 << 20;    // bytes of mask words in work memory

// size, folds, planes per block, blocks per multiprocessor. The first that fits the device's shared memory is
// taken; where none does, or for other sizes, the two-pass kernels run.
template <class F>
bool with_fused_plan(int height, int width, size_t shared_limit, F&& body) {
  const auto fits = [&](auto plan) {
    using Plan = decltype(plan);
    return height == Plan::N && width == Plan::N && Plan::shared_bytes <= shared_limit;
  };
  const auto attempt = [&](auto... plans) { return ((fits(plans) ? (body(plans), true) : false) || ...); };
  return attempt(Fused<32, 1, 4, 4>{}, Fused<64, 1, 2, 4>{}, Fused<96, 1, 1, 4>{}, Fused<128, 2, 1, 4>{},
                 Fused<224, 2, 1, 2>{}, Fused<224, 4, 1, 2>{}, Fused<256, 4, 1, 2>{}, Fused<288, 4, 1, 2>{},
                 Fused<320, 4, 1, 2>{}, Fused<384, 4, 1, 1>{});
}

inline bool has_fused_plan(int64_t height, int64_t width, size_t shared_limit) {
  if (height != width || height > 4096) return false;
  return with_fused_plan(int(height), int(width), shared_limit, [](auto) {});
}

struct FusedGeometry {
  int64_t masks_per_launch = 1, images_per_launch = 1;
  size_t twiddles = 0, roots = 0, masks = 0, bytes = 0;  // offsets in work memory
};

// planes: image planes B*C; masks: 1 when paired, then the mask of each image is in work memory beside its
// planes.
inline FusedGeometry fused_geometry(int n, int folds, int64_t masks, int64_t images, int channels, bool paired,
                                    bool bits) {
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

inline Shape fused_shape(int threads, size_t shared_bytes, int folds, int planes_per_block, int64_t masks,
                         int64_t images) {
  Shape shape;
  shape.blocks = unsigned(folds * masks * ((images + planes_per_block - 1) / planes_per_block));
  shape.threads = unsigned(threads);
  shape.shared_bytes = shared_bytes;
  return shape;
}

}  // namespace freqkit::device

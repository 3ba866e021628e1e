// Kernels of the spectral filter for any size, in two passes: along W, then along H, with a scratch between
// them that stays in the L2 cache.
//
// The packed spectrum of a plane is X[ky = 0..H/2][kx = 0..W-1], complex, unnormalised. With weights c(ky) =
// 1 in the self-paired rows (0, and H/2 when H is even) and 2 elsewhere,
//   inverse:  y[h,w] = 1/(HW) sum_ky c(ky) Re sum_kx m_eff(ky,kx) X[ky,kx] exp(+2 pi i (ky h/H + kx w/W))
//   forward:  X[ky,kx] = sum_hw x[h,w] exp(-2 pi i (ky h/H + kx w/W))
// and the gradients are the transposes of these as real-linear maps. Along H two neighbouring columns are
// transformed as one: they are real there, so one complex transform of any length carries both.
#pragma once

#include "device_plan.h"

namespace freqkit::device {

// exp(2 pi i k/n), reduced exactly to the first octant.
__device__ inline void root_of_unity(int k, int n, double* cosine, double* sine) {
  const int64_t eighths = int64_t(k) * 8;
  const int octant = int(eighths / n);
  int64_t rest = eighths - int64_t(octant) * n;  // angle = pi/4 (octant + rest/n)
  if (octant & 1) rest = n - rest;
  double c, s;
  sincospi(double(rest) / (4.0 * n), &s, &c);
  if ((octant + 1) & 2) {
    const double t = c;
    c = s;
    s = t;
  }
  *cosine = octant >= 2 && octant <= 5 ? -c : c;
  *sine = octant >= 4 ? -s : s;
}

template <class T>
struct Tables {
  const Complex<T>* roots = nullptr;  // exp(2 pi i k/n)
  const int* positions = nullptr;
};

template <class T>
struct TablesParams {
  Line line;
  Complex<T>* roots;
  int* positions;
};

template <class T>
__global__ void __launch_bounds__(kThreads) tables_kernel(TablesParams<T> p) {
  for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < p.line.n; k += gridDim.x * blockDim.x) {
    double c, s;
    root_of_unity(k, p.line.n, &c, &s);
    store_global(p.roots + k, Complex<T>{T(c), T(s)});
    store_global(p.positions + k, position_of(p.line, k));
  }
}

template <class T>
FREQKIT_HD FREQKIT_INLINE Complex<T> multiply(const Complex<T>& a, const Complex<T>& b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// One in-place pass of radix R over sub-transforms of `length`: R-point transforms at distance length/R, then
// twiddles.
template <int R, bool SHARED, class T>
__device__ FREQKIT_INLINE void codelet_pass(Complex<T>* data, const Line& line, int length, const Complex<T>* roots) {
  const int lanes = line.lanes(), log_lanes = line.log_lanes, pitch = line.pitch();
  const int step = length / R, scale = line.n / length;
  const ptrdiff_t stride = ptrdiff_t(step) * pitch;
  const int64_t tasks = int64_t(line.n / R) << log_lanes;
  for (int64_t task = threadIdx.x; task < tasks; task += blockDim.x) {
    const int lane = int(task) & (lanes - 1), butterfly = int(task >> log_lanes);
    const int group = butterfly / step, j = butterfly - group * step;
    Complex<T>* const at = data + (ptrdiff_t(group) * length + j) * pitch + lane;
    Complex<T> v[R];
#pragma unroll
    for (int q = 0; q < R; ++q) v[q] = load_buffer<SHARED>(at + q * stride);
    fft<R>(v);
    store_buffer<SHARED>(at, v[0]);
    if (step == 1) {
#pragma unroll
      for (int q = 1; q < R; ++q) store_buffer<SHARED>(at + q * stride, v[q]);
    } else {
#pragma unroll
      for (int q = 1; q < R; ++q)
        store_buffer<SHARED>(at + q * stride, multiply(v[q], load_const(roots + ptrdiff_t(j) * q * scale)));
    }
  }
}

// The same for a radix without a codelet: each output is a direct sum, from one buffer into the other.
// Partial sums of 16 terms keep the rounding error that of a short sum.
template <bool SHARED, class T>
__device__ FREQKIT_INLINE void direct_pass(const Complex<T>* from, Complex<T>* to, const Line& line, int radix,
                                           int length, const Complex<T>* roots) {
  const int lanes = line.lanes(), log_lanes = line.log_lanes, pitch = line.pitch();
  const int step = length / radix, scale = line.n / length, turn = line.n / radix;
  const ptrdiff_t stride = ptrdiff_t(step) * pitch;
  const int64_t tasks = int64_t(line.n) << log_lanes;
  for (int64_t task = threadIdx.x; task < tasks; task += blockDim.x) {
    const int lane = int(task) & (lanes - 1), element = int(task >> log_lanes);
    const int group = element / length, rest = element - group * length;
    const int output = rest / step, j = rest - output * step;
    const Complex<T>* const at = from + (ptrdiff_t(group) * length + j) * pitch + lane;
    const int advance = output * turn;
    Complex<T> sum{};
    int angle = 0;
    for (int first = 0; first < radix; first += 16) {
      Complex<T> part{};
      const int last = first + 16 < radix ? first + 16 : radix;
      for (int q = first; q < last; ++q) {
        const Complex<T> term = multiply(load_buffer<SHARED>(at + q * stride), load_const(roots + angle));
        part = {part.re + term.re, part.im + term.im};
        angle += advance;
        if (angle >= line.n) angle -= line.n;
      }
      sum = {sum.re + part.re, sum.im + part.im};
    }
    if (step > 1) sum = multiply(sum, load_const(roots + ptrdiff_t(j) * output * scale));
    store_buffer<SHARED>(to + ptrdiff_t(element) * pitch + lane, sum);
  }
}

// All passes. data: the block's buffers, filled and behind a barrier; returns the buffer that holds the
// result, behind a barrier too.
template <bool SHARED, class T>
__device__ FREQKIT_INLINE Complex<T>* transform(Complex<T>* data, const Line& line, const Complex<T>* roots) {
  Complex<T>* other = data + ptrdiff_t(line.n) * line.pitch();
  int length = line.n;
  for (int pass = 0; pass < line.passes; ++pass) {
    const int radix = line.radix[pass];
    switch (radix) {
#define FREQKIT_CASE(R) \
  case R: codelet_pass<R, SHARED>(data, line, length, roots); break;
      FREQKIT_EACH_SMALL_DEVICE_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
#define FREQKIT_CASE(R)                                   \
  case R:                                                 \
    if constexpr (sizeof(T) == 4) {                       \
      codelet_pass<R, SHARED>(data, line, length, roots); \
      break;                                              \
    }                                                     \
    [[fallthrough]];
      FREQKIT_EACH_LARGE_DEVICE_RADIX(FREQKIT_CASE)
#undef FREQKIT_CASE
      default: {
        if (line.buffers < 2) FREQKIT_TRAP();  // a plan with a radix that has no case here
        direct_pass<SHARED>(data, other, line, radix, length, roots);
        Complex<T>* const t = data;
        data = other;
        other = t;
      }
    }
    length /= radix;
    __syncthreads();
  }
  return data;
}

template <bool SHARED, class T>
__device__ FREQKIT_INLINE Complex<T>* block_buffer(Complex<T>* wide, const Line& line) {
  if constexpr (SHARED) {
    DYNAMIC_SHARED(Complex<T>, shared);
    return shared;
  } else {
    return wide + int64_t(blockIdx.x) * line.elements();
  }
}

// ---- masks
// ----------------------------------------------------------------------------------------------------------

__device__ FREQKIT_INLINE int mask_bit(const MaskView& m, int64_t mask, int row, int column) {  // centred
  const int cell = column / m.cell_width;
  const int64_t byte = (mask * m.cell_rows + row / m.cell_height) * m.row_bytes + (cell >> 3);
  return load_const(static_cast<const unsigned char*>(m.data) + byte) >> (cell & 7) & 1;
}

// m_eff(ky, kx) of one mask, ky in 0..H/2, kx in 0..W-1.
template <class T>
__device__ FREQKIT_INLINE T mask_weight(const MaskView& m, int64_t mask, int ky, int kx, int height, int width) {
  const int mirror_y = ky == 0 ? 0 : height - ky, mirror_x = kx == 0 ? 0 : width - kx;
  switch (m.kind) {
    case MaskKind::kNone: return T(1);
    case MaskKind::kFull: {
      const T* const values = static_cast<const T*>(m.data) + mask * height * width;
      return T(0.5) * (load_const(values + int64_t(ky) * width + kx) +
                       load_const(values + int64_t(mirror_y) * width + mirror_x));
    }
    case MaskKind::kHalf: {
      const int columns = width / 2 + 1;
      const T* const values = static_cast<const T*>(m.data) + mask * height * columns;
      if (kx == mirror_x)
        return T(0.5) * (load_const(values + int64_t(ky) * columns + kx) +
                         load_const(values + int64_t(mirror_y) * columns + kx));
      return kx < mirror_x ? load_const(values + int64_t(ky) * columns + kx)
                           : load_const(values + int64_t(mirror_y) * columns + mirror_x);
    }
    default: {
      const int centre_y = height / 2, centre_x = width / 2;
      const int row = (ky + centre_y) % height, column = (kx + centre_x) % width;
      const int other_row = (mirror_y + centre_y) % height, other_column = (mirror_x + centre_x) % width;
      if (m.kind == MaskKind::kBitsAverage)
        return T(0.5) * T(mask_bit(m, mask, row, column) + mask_bit(m, mask, other_row, other_column));
      const bool self_paired = ky == mirror_y;
      const bool canonical = self_paired ? column <= centre_x : row < centre_y;
      return T(canonical ? mask_bit(m, mask, row, column) : mask_bit(m, mask, other_row, other_column));
    }
  }
}

}  // namespace freqkit::device

#include "fused.cuh"

namespace freqkit::device {

// ---- inverse
// --------------------------------------------------------------------------------------------------------

template <class T>
struct InverseRows {
  Line line;
  Tables<T> tables;
  const Complex<T>* spectrum;  // [images, half, W]
  Complex<T>* scratch;         // [rows/lanes, W, lanes]
  Complex<T>* wide;
  MaskView mask;
  const T* divisor;     // per channel, or null
  int64_t first_plane;  // plane = mask * images + image, or image when paired
  int64_t images;       // B*C
  int rows;             // planes in flight * half
  int height, half, channels;
  bool paired;
  T self_weight, inner_weight;
};

// Masked rows of the spectrum, transformed along W. The scratch keeps `lanes` rows side by side, as they
// stand in the block: every access to it is a full line, and no bank conflicts arise.
template <class T, bool SHARED>
__global__ void __launch_bounds__(kThreads, 2) inverse_rows_kernel(InverseRows<T> p) {
  Complex<T>* const buffer = block_buffer<SHARED>(p.wide, p.line);
  const int width = p.line.n, lanes = p.line.lanes(), pitch = p.line.pitch();
  const int items = (p.rows + lanes - 1) / lanes;
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    for (int lane = threadIdx.x / 32; lane < lanes; lane += kThreads / 32) {
      const int row = item * lanes + lane;
      const bool inside = row < p.rows;
      const int64_t plane = p.first_plane + row / p.half;
      const int ky = row % p.half;
      const int64_t image = plane % p.images;
      const int64_t mask = p.paired ? image / p.channels : plane / p.images;
      T scale = ky == 0 || 2 * ky == p.height ? p.self_weight : p.inner_weight;
      if (p.divisor != nullptr) scale /= load_const(p.divisor + image % p.channels);
      const Complex<T>* const from = p.spectrum + (image * p.half + ky) * width;
      for (int kx = threadIdx.x % 32; kx < width; kx += 32) {
        const T weight = inside ? mask_weight<T>(p.mask, mask, ky, kx, p.height, width) : T(0);
        const Complex<T> value = load_const_if(weight != T(0), from + kx);
        store_buffer<SHARED>(buffer + ptrdiff_t(kx) * pitch + lane,
                             Complex<T>{value.re * (weight * scale), value.im * (weight * scale)});
      }
    }
    __syncthreads();
    const Complex<T>* const result = transform<SHARED>(buffer, p.line, p.tables.roots);
    Complex<T>* const to = p.scratch + int64_t(item) * width * lanes;
    const int64_t elements = int64_t(width) * lanes;
    for (int64_t e = threadIdx.x; e < elements; e += blockDim.x) {
      const int lane = int(e) & (lanes - 1), x = int(e >> p.line.log_lanes);
      store_global(to + e, load_buffer<SHARED>(result + ptrdiff_t(load_const(p.tables.positions + x)) * pitch + lane));
    }
    __syncthreads();
  }
}

template <class T>
struct InverseColumns {
  Line line;
  Tables<T> tables;
  const Complex<T>* scratch;
  Complex<T>* wide;
  int log_row_lanes;  // of the scratch
  ImageView out;
  void* out_data;
  bool aligned_pairs;
  int64_t first_plane;
  int planes, half, width, pairs, channels;
};

template <class T, bool SHARED>
__global__ void __launch_bounds__(kThreads, 2) inverse_columns_kernel(InverseColumns<T> p) {
  Complex<T>* const buffer = block_buffer<SHARED>(p.wide, p.line);
  const int height = p.line.n, lanes = p.line.lanes(), pitch = p.line.pitch();
  const int groups = (p.pairs + lanes - 1) / lanes, row_lanes = 1 << p.log_row_lanes;
  const int64_t items = int64_t(p.planes) * groups;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int local = int(item / groups), first_pair = int(item % groups) * lanes;
    for (int lane = threadIdx.x / 32; lane < lanes; lane += kThreads / 32) {
      const int x = 2 * (first_pair + lane);
      for (int ky = threadIdx.x % 32; ky < p.half; ky += 32) {
        const int row = local * p.half + ky;
        const Complex<T>* const from =
            p.scratch + ((int64_t(row >> p.log_row_lanes) * p.width + x) << p.log_row_lanes) + (row & (row_lanes - 1));
        // The values of left and right are real transforms' halves: left + i right is one complex column.
        const Complex<T> left = load_const_if(x < p.width, from);
        const Complex<T> right = load_const_if(x + 1 < p.width, from + row_lanes);
        const int mirror = ky == 0 ? 0 : height - ky;
        if (mirror == ky) {
          store_buffer<SHARED>(buffer + ptrdiff_t(ky) * pitch + lane, Complex<T>{left.re, right.re});
        } else {
          store_buffer<SHARED>(buffer + ptrdiff_t(ky) * pitch + lane,
                               Complex<T>{(left.re - right.im) * T(0.5), (left.im + right.re) * T(0.5)});
          store_buffer<SHARED>(buffer + ptrdiff_t(mirror) * pitch + lane,
                               Complex<T>{(left.re + right.im) * T(0.5), (right.re - left.im) * T(0.5)});
        }
      }
    }
    __syncthreads();
    const Complex<T>* const result = transform<SHARED>(buffer, p.line, p.tables.roots);
    const int64_t plane = p.first_plane + local;
    const int64_t base = plane / p.channels * p.out.image + plane % p.channels * p.out.channel;
    const int64_t elements = int64_t(height) << p.line.log_lanes;
    for (int64_t e = threadIdx.x; e < elements; e += blockDim.x) {
      const int lane = int(e) & (lanes - 1), h = int(e >> p.line.log_lanes), x = 2 * (first_pair + lane);
      if (x >= p.width) continue;
      const Complex<T> value =
          load_buffer<SHARED>(result + ptrdiff_t(load_const(p.tables.positions + h)) * pitch + lane);
      store_numbers(p.out_data, p.out.type, base + h * p.out.row + x * p.out.column, p.aligned_pairs ? 0 : p.out.column,
                    x + 1 < p.width ? 2 : 1, value.re, value.im);
    }
    __syncthreads();
  }
}

// ---- forward
// --------------------------------------------------------------------------------------------------------

template <class T>
struct ForwardColumns {
  Line line;
  Tables<T> tables;
  ImageView in;
  const T* mean;     // per channel, or null
  const T* divisor;  // per channel, or null
  PlaneMap planes;
  Complex<T>* scratch;  // [planes, half, W]
  Complex<T>* wide;
  int half, width, pairs, channels;
};

// The forward sign comes from exchanging real and imaginary parts on the way in and out.
template <class T, bool SHARED>
__global__ void __launch_bounds__(kThreads, 2) forward_columns_kernel(ForwardColumns<T> p) {
  Complex<T>* const buffer = block_buffer<SHARED>(p.wide, p.line);
  const int height = p.line.n, lanes = p.line.lanes(), log_lanes = p.line.log_lanes, pitch = p.line.pitch();
  const int groups = (p.pairs + lanes - 1) / lanes;
  const int64_t items = p.planes.count() * groups;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int64_t local = item / groups, plane = p.planes(local), channel = plane % p.channels;
    const int first_pair = int(item % groups) * lanes;
    const int64_t base = plane / p.channels * p.in.image + channel * p.in.channel;
    const T mean = p.mean == nullptr ? T(0) : load_const(p.mean + channel);
    const T divisor = p.divisor == nullptr ? T(1) : load_const(p.divisor + channel);
    const int64_t elements = int64_t(height) << log_lanes;
    for (int64_t e = threadIdx.x; e < elements; e += blockDim.x) {
      const int lane = int(e) & (lanes - 1), h = int(e >> log_lanes), x = 2 * (first_pair + lane);
      const int64_t at = base + h * p.in.row + x * p.in.column;
      T left = 0, right = 0;
      if (x < p.width) left = (load_number<T>(p.in.data, p.in.type, at) - mean) / divisor;
      if (x + 1 < p.width) right = (load_number<T>(p.in.data, p.in.type, at + p.in.column) - mean) / divisor;
      store_buffer<SHARED>(buffer + ptrdiff_t(h) * pitch + lane, Complex<T>{right, left});
    }
    __syncthreads();
    const Complex<T>* const result = transform<SHARED>(buffer, p.line, p.tables.roots);
    const int64_t half_elements = int64_t(p.half) << log_lanes;
    for (int64_t e = threadIdx.x; e < half_elements; e += blockDim.x) {
      const int lane = int(e) & (lanes - 1), ky = int(e >> log_lanes), x = 2 * (first_pair + lane);
      if (x >= p.width) continue;
      const int mirror = ky == 0 ? 0 : height - ky;
      const Complex<T> a = load_buffer<SHARED>(result + ptrdiff_t(load_const(p.tables.positions + ky)) * pitch + lane);
      const Complex<T> b =
          load_buffer<SHARED>(result + ptrdiff_t(load_const(p.tables.positions + mirror)) * pitch + lane);
      // With Z = (a.im, a.re) at ky and (b.im, b.re) at its mirror: left = (Z + conj Z')/2, right = (Z - conj
      // Z')/2i.
      const T half = T(0.5);
      Complex<T>* const to = p.scratch + (local * p.half + ky) * p.width + x;
      store_global(to, Complex<T>{(a.im + b.im) * half, (a.re - b.re) * half});
      if (x + 1 < p.width) store_global(to + 1, Complex<T>{(a.re + b.re) * half, (b.im - a.im) * half});
    }
    __syncthreads();
  }
}

enum class RowSum : int { spectrum, spectrum_gradient, mask_gradient };

template <class T>
struct ForwardRows {
  Line line;
  Tables<T> tables;
  const Complex<T>* scratch;  // [inner, outer, half, W]
  Complex<T>* wide;
  RowSum sum;
  int64_t outer, inner;              // outputs, and the planes summed into each
  int64_t first_outer, first_inner;  // of this chunk
  int64_t shares, share;             // outputs per mask, and the planes of each (mask gradient)
  Complex<T>* spectrum;              // [outputs, half, W]: the result of the first two sums
  const Complex<T>* other;           // [images, half, W]: the filtered spectrum, for the mask gradient
  T* mask_gradient;                  // [masks, shares, half, W]
  MaskView mask;
  int height, half, channels;
  bool paired;
  T self_weight, inner_weight;
};

// Rows transformed along W and summed over the inner planes in order, so that results do not depend on
// scheduling:
//   spectrum            out[o]  = F
//   spectrum_gradient   out[o] += c/(HW) m_eff F          o = image plane, inner = masks
//   mask_gradient       out[o] += c/(HW) Re(X conj F)     o = (mask, share), inner = the share's image planes
template <class T, bool SHARED>
__global__ void __launch_bounds__(kThreads, 2) forward_rows_kernel(ForwardRows<T> p) {
  Complex<T>* const buffer = block_buffer<SHARED>(p.wide, p.line);
  const int width = p.line.n, lanes = p.line.lanes(), pitch = p.line.pitch();
  const int64_t rows = p.outer * p.half;
  const int64_t items = (rows + lanes - 1) / lanes;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    for (int64_t inner = 0; inner < p.inner; ++inner) {
      for (int lane = threadIdx.x / 32; lane < lanes; lane += kThreads / 32) {
        const int64_t row = item * lanes + lane;
        const Complex<T>* const from = p.scratch + (inner * rows + row) * width;
        for (int x = threadIdx.x % 32; x < width; x += 32) {
          const Complex<T> value = load_const_if(row < rows, from + x);
          store_buffer<SHARED>(buffer + ptrdiff_t(x) * pitch + lane, Complex<T>{value.im, value.re});
        }
      }
      __syncthreads();
      const Complex<T>* const result = transform<SHARED>(buffer, p.line, p.tables.roots);
      for (int lane = threadIdx.x / 32; lane < lanes; lane += kThreads / 32) {
        const int64_t row = item * lanes + lane;
        if (row >= rows) break;
        const int64_t output = p.first_outer + row / p.half;
        const int ky = int(row % p.half);
        const int64_t step = p.first_inner + inner;
        const T scale = ky == 0 || 2 * ky == p.height ? p.self_weight : p.inner_weight;
        for (int kx = threadIdx.x % 32; kx < width; kx += 32) {
          const Complex<T> swapped =
              load_buffer<SHARED>(result + ptrdiff_t(load_const(p.tables.positions + kx)) * pitch + lane);
          const Complex<T> value{swapped.im, swapped.re};
          const int64_t at = (output * p.half + ky) * width + kx;
          if (p.sum == RowSum::spectrum) {
            store_global(p.spectrum + at, value);
          } else if (p.sum == RowSum::spectrum_gradient) {
            const int64_t mask = p.paired ? output / p.channels : step;
            const T weight = scale * mask_weight<T>(p.mask, mask, ky, kx, p.height, width);
            Complex<T> total{};
            if (step > 0) total = load_global(p.spectrum + at);
            store_global(p.spectrum + at, Complex<T>{total.re + weight * value.re, total.im + weight * value.im});
          } else {
            const int64_t nth = output % p.shares * p.share + step;
            const int64_t image = p.paired ? output / p.shares * p.channels + nth : nth;
            const Complex<T> x = load_const(p.other + (image * p.half + ky) * width + kx);
            T total = 0;
            if (step > 0) total = load_global(p.mask_gradient + at);
            store_global(p.mask_gradient + at, total + scale * (x.re * value.re + x.im * value.im));
          }
        }
      }
      __syncthreads();
    }
  }
}

template <class T>
struct MaskGradient {
  const T* half_gradient;  // [masks, shares, half, W], with respect to m_eff
  T* out;                  // [masks, H, W] or [masks, H, W/2+1]
  int64_t masks, shares;
  int height, width, half, columns;
};

// From m_eff(f) = (m(f) + m(-f))/2 back to m.
template <class T>
__global__ void __launch_bounds__(kThreads) mask_gradient_kernel(MaskGradient<T> p) {
  const int64_t total = p.masks * p.height * p.columns;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += int64_t(gridDim.x) * blockDim.x) {
    const int column = int(i % p.columns), row = int(i / p.columns % p.height);
    const int64_t mask = i / p.columns / p.height;
    const int mirror_row = row == 0 ? 0 : p.height - row, mirror_column = column == 0 ? 0 : p.width - column;
    const int ky = row < p.half ? row : mirror_row, kx = row < p.half ? column : mirror_column;
    T value = 0;
    for (int64_t share = 0; share < p.shares; ++share) {
      const T* const gradient =
          p.half_gradient + ((mask * p.shares + share) * p.half + ky) * static_cast<int64_t>(p.width);
      if (row == mirror_row)
        value += T(0.5) * (load_const(gradient + column) + load_const(gradient + mirror_column));
      else
        value += T(0.5) * load_const(gradient + kx);
    }
    // A half-plane value stands for its mirrored column too.
    if (p.columns < p.width && column != mirror_column) value *= T(2);
    store_global(p.out + i, value);
  }
}

// ---- the sequence of launches
// --------------------------------------------------------------------------------------- `launch(kernel,
// shape, params)` runs a kernel: on a stream (spectral_filter_cuda.cu) or in the emulator.

template <class T>
struct Work {
  Geometry geometry;
  char* memory;  // geometry.bytes, 256-byte aligned
  Complex<T>* roots(bool rows) const {
    return reinterpret_cast<Complex<T>*>(memory + (rows ? geometry.row_roots : geometry.column_roots));
  }
  int* positions(bool rows) const {
    return reinterpret_cast<int*>(memory + (rows ? geometry.row_positions : geometry.column_positions));
  }
  Complex<T>* scratch() const { return reinterpret_cast<Complex<T>*>(memory + geometry.scratch); }
  Complex<T>* wide() const { return reinterpret_cast<Complex<T>*>(memory + geometry.wide); }
  Tables<T> tables(bool rows) const { return {roots(rows), positions(rows)}; }
};

template <class T, class Launch>
void make_tables(Launch&& launch, const Work<T>& work) {
  const Geometry& g = work.geometry;
  launch(tables_kernel<T>, flat_shape(g.width), TablesParams<T>{g.rows, work.roots(true), work.positions(true)});
  launch(tables_kernel<T>, flat_shape(g.height), TablesParams<T>{g.columns, work.roots(false), work.positions(false)});
}

template <class T>
struct InverseArguments {
  const Complex<T>* spectrum;
  MaskView mask;
  const T* divisor;
  int64_t masks, images;  // image planes B*C; masks is 1 when paired or without masks
  int channels;
  bool paired;
  T self_weight, inner_weight;
  ImageView out;
  void* out_data;
};

template <class T, class Launch>
void inverse(Launch&& launch, const Work<T>& work, const InverseArguments<T>& a) {
  const Geometry& g = work.geometry;
  const int64_t planes = a.masks * a.images;
  if (planes == 0) return;
  make_tables(launch, work);
  const bool aligned_pairs = a.out.column == 1 && g.width % 2 == 0 && a.out.row % 2 == 0 && a.out.channel % 2 == 0 &&
                             a.out.image % 2 == 0 &&
                             reinterpret_cast<uintptr_t>(a.out_data) % (2 * bytes_of(a.out.type)) == 0;
  for (int64_t first = 0; first < planes; first += g.chunk) {
    const int count = int(std::min(g.chunk, planes - first)), rows = count * g.half;
    const InverseRows<T> row_params{
        g.rows,        work.tables(true), a.spectrum, work.scratch(), work.wide(), a.mask,     a.divisor,
        first,         a.images,          rows,       g.height,       g.half,      a.channels, a.paired,
        a.self_weight, a.inner_weight};
    const Shape row_shape = line_shape(g.rows, (rows + g.rows.lanes() - 1) / g.rows.lanes(), sizeof(Complex<T>));
    launch(g.rows.wide ? inverse_rows_kernel<T, false> : inverse_rows_kernel<T, true>, row_shape, row_params);
    const InverseColumns<T> column_params{
        g.columns,  work.tables(false), work.scratch(), work.wide(), g.rows.log_lanes, a.out,
        a.out_data, aligned_pairs,      first,          count,       g.half,           g.width,
        g.pairs,    a.channels};
    const int groups = (g.pairs + g.columns.lanes() - 1) / g.columns.lanes();
    launch(g.columns.wide ? inverse_columns_kernel<T, false> : inverse_columns_kernel<T, true>,
           line_shape(g.columns, int64_t(count) * groups, sizeof(Complex<T>)), column_params);
  }
}

// The one-kernel inverse of a square float32 size with a plan; memory has the bytes of its FusedGeometry.
template <class Plan, class Launch>
void fused_inverse(Launch&& launch, char* memory, const InverseArguments<float>& a) {
  const int64_t masks = a.masks, images = a.images;
  if (masks * images == 0) return;
  const bool bits = is_bits(a.mask.kind);
  const FusedGeometry g = fused_geometry(Plan::N, Plan::D, masks, images, a.channels, a.paired, bits);
  auto* const twiddles = reinterpret_cast<Complex<float>*>(memory + g.twiddles);
  auto* const roots = reinterpret_cast<Complex<float>*>(memory + g.roots);
  FusedMaskParams mask{a.mask, nullptr, nullptr, 0, 0, Plan::N};
  if (bits)
    mask.words = reinterpret_cast<uint32_t*>(memory + g.masks);
  else
    mask.weights = reinterpret_cast<float*>(memory + g.masks);
  const int64_t mask_elements = int64_t(Plan::N / 2 + 1) * (bits ? Plan::B : Plan::N);
  launch(fused_tables_kernel, flat_shape(Plan::N), FusedTablesParams{twiddles, roots, Plan::N});
  FusedParams p{
      {twiddles, roots}, a.spectrum, mask.words, mask.weights, a.out, a.out_data, a.self_weight, images, 0, 0, 0,
      a.channels,        a.paired};
  const auto filter = [&](int64_t first_mask, int64_t mask_count, int64_t first_image, int64_t image_count) {
    p.first_mask = first_mask;
    p.first_image = first_image;
    p.image_count = image_count;
    const Shape shape = fused_shape(Plan::threads, Plan::shared_bytes, Plan::D, Plan::P, mask_count, image_count);
    const auto of_type = [&](auto zero) {
      using E = decltype(zero);
      launch(a.out.column == 1 ? fused_inverse_kernel<Plan, E, true> : fused_inverse_kernel<Plan, E, false>, shape, p);
    };
    a.out.type == Number::f32 ? of_type(0.0f) : a.out.type == Number::bf16 ? of_type(BFloat16{}) : of_type(Half{});
  };
  const auto prepare = [&](int64_t first, int64_t count) {
    mask.first = first;
    mask.count = count;
    launch(fused_mask_kernel, flat_shape(count * mask_elements), mask);
  };
  if (a.paired) {
    for (int64_t i = 0; i < images; i += g.images_per_launch) {
      const int64_t count = std::min(g.images_per_launch, images - i);
      prepare(i / a.channels, count / a.channels);
      filter(i / a.channels, 1, i, count);
    }
    return;
  }
  for (int64_t k = 0; k < masks; k += g.masks_per_launch) {
    const int64_t mask_count = std::min(g.masks_per_launch, masks - k);
    prepare(k, mask_count);
    for (int64_t i = 0; i < images; i += g.images_per_launch)
      filter(k, mask_count, i, std::min(g.images_per_launch, images - i));
  }
}

template <class T>
struct ForwardArguments {
  ImageView in;
  const T* mean;
  const T* divisor;
  int64_t outer, inner, outer_step, inner_step;  // planes of `in` summed into each output
  int channels;
  RowSum sum;
  Complex<T>* spectrum;
  const Complex<T>* other;
  T* mask_gradient;  // [masks, shares, half, W]
  int64_t shares = 1;
  MaskView mask;
  bool paired;
  T self_weight, inner_weight;
};

template <class T, class Launch>
void forward(Launch&& launch, const Work<T>& work, const ForwardArguments<T>& a) {
  const Geometry& g = work.geometry;
  if (a.outer * a.inner == 0) return;
  make_tables(launch, work);
  const int64_t outer_step = std::min(a.outer, g.chunk), inner_step = std::max<int64_t>(g.chunk / outer_step, 1);
  for (int64_t o = 0; o < a.outer; o += outer_step) {
    const int64_t outer = std::min(outer_step, a.outer - o);
    for (int64_t i = 0; i < a.inner; i += inner_step) {
      const int64_t inner = std::min(inner_step, a.inner - i);
      const PlaneMap map{o * a.outer_step + i * a.inner_step, outer, inner, a.outer_step, a.inner_step};
      const ForwardColumns<T> column_params{g.columns,      work.tables(false), a.in,   a.mean,  a.divisor, map,
                                            work.scratch(), work.wide(),        g.half, g.width, g.pairs,   a.channels};
      const int groups = (g.pairs + g.columns.lanes() - 1) / g.columns.lanes();
      launch(g.columns.wide ? forward_columns_kernel<T, false> : forward_columns_kernel<T, true>,
             line_shape(g.columns, outer * inner * groups, sizeof(Complex<T>)), column_params);
      const ForwardRows<T> row_params{
          g.rows, work.tables(true), work.scratch(), work.wide(),   a.sum,         outer,           inner,  o,
          i,      a.shares,          a.inner,        a.spectrum,    a.other,       a.mask_gradient, a.mask, g.height,
          g.half, a.channels,        a.paired,       a.self_weight, a.inner_weight};
      const int64_t items = (outer * g.half + g.rows.lanes() - 1) / g.rows.lanes();
      launch(g.rows.wide ? forward_rows_kernel<T, false> : forward_rows_kernel<T, true>,
             line_shape(g.rows, items, sizeof(Complex<T>)), row_params);
    }
  }
}

// Into how many sums the planes of a mask are shared, so that few masks still fill a device: a divisor of
// their number, from the sizes alone, so that results repeat.
inline int64_t mask_gradient_shares(int64_t masks, int64_t planes, int height) {
  const int64_t batches = masks * ((height / 2 + kMaxLanes) / kMaxLanes);
  for (int64_t shares = std::clamp<int64_t>(512 / std::max<int64_t>(batches, 1), 1, 32); shares > 1; --shares)
    if (planes % shares == 0) return shares;
  return 1;
}

template <class T, class Launch>
void finish_mask_gradient(Launch&& launch, const Geometry& g, const T* half_gradient, T* out, int64_t masks,
                          int64_t shares, bool dense) {
  const int columns = dense ? g.width : g.width / 2 + 1;
  if (masks == 0) return;
  launch(mask_gradient_kernel<T>, flat_shape(masks * g.height * columns),
         MaskGradient<T>{half_gradient, out, masks, shares, g.height, g.width, g.half, columns});
}

}  // namespace freqkit::device

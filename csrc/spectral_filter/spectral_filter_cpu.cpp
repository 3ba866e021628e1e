// The CPU operators: tensors in, tensors out; work shared between torch's threads over (mask, plane).
//
// Memory of a call beyond its result, whatever K and B are: the weights of one block of masks (at most 4 MiB or one
// mask), 48 bytes per mask to find equal ones, and one scratch per thread (one plane between its two transforms, or the
// three of an interleaved image; two columns' worth of lines for each, and one more).
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "../common/aligned.h"
#include "../common/checks.h"
#include "../common/instruction_set.h"
#include "../common/torch.h"
#include "spectral_filter.h"

namespace freqkit {

namespace {

template <class S>
const CpuKernels<S>& choose() {
#ifdef FREQKIT_HAS_X86
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return *avx512_kernels<S>();
    case InstructionSet::kAvx2: return *avx2_kernels<S>();
    case InstructionSet::kBaseline: break;
  }
#endif
  return *baseline_kernels<S>();
}

}  // namespace

const CpuKernels<float>& kernels_in_use(float) {
  static const CpuKernels<float>& kernels = choose<float>();
  return kernels;
}
const CpuKernels<double>& kernels_in_use(double) {
  static const CpuKernels<double>& kernels = choose<double>();
  return kernels;
}

namespace {

// Planes that make one run of a shared loop: some microseconds of work (the weights of a mask take a fifth of a plane).
int64_t few_planes(int64_t height, int64_t width) {
  return std::max<int64_t>(1, (int64_t(1) << 14) / (height * width));
}

// Everything a call needs to know about its planes.
template <class S>
struct Transforms {
  const CpuKernels<S>& kernels = kernels_in_use(S{});
  PlaneShape shape;
  const Plan<S>& rows;
  const Plan<S>& columns;
  int64_t scratch;
  Transforms(int64_t height, int64_t width, int planes = 1)
      : shape{int(height), int(width), kernels.lanes},
        rows(plan_of<S>(int(width))),
        columns(plan_of<S>(int(height))),
        scratch(kernels.scratch_size(shape, rows, columns, planes)) {}
};

// One aligned buffer per thread and element type, kept between calls (fresh pages cost more than a small image) and
// grown when a larger plane comes. Zeroed when made, so that unused lanes hold numbers.
template <class S>
struct ThreadScratch {
  explicit ThreadScratch(int64_t count) {
    if (count > held().size) {
      held().memory.reset();
      held().memory = std::make_unique<Aligned<S>>(count);
      held().size = count;
      std::memset(held().memory->data, 0, sizeof(S) * count);
    }
  }
  S* get() { return held().memory->data; }

 private:
  struct Held {
    std::unique_ptr<Aligned<S>> memory;
    int64_t size = 0;
  };
  static Held& held() {
    static thread_local Held value;
    return value;
  }
};

struct Masks {
  MaskKind kind;
  int64_t count, bytes;  // bytes from one mask to the next
  MaskView view;
  MaskView at(int64_t k) const {
    MaskView result = view;
    result.data = static_cast<const char*>(view.data) + k * bytes;
    return result;
  }
};

Masks masks_of(const Tensor& mask, int64_t kind, const std::vector<int64_t>& cell) {
  Masks masks{};
  masks.kind = MaskKind(kind);
  masks.count = mask.size(0);
  masks.bytes = mask.size(1) * mask.size(2) * int64_t(mask.element_size());
  const bool bits = kind > 1;
  masks.view = {masks.kind, mask.const_data_ptr(), bits ? int(cell[0]) : 1, bits ? int(cell[1]) : 1, mask.size(2)};
  return masks;
}

// For each mask the first one with the same bits; itself for dense masks, which are not looked at.
std::vector<int64_t> first_equal(const Masks& masks) {
  std::vector<int64_t> first(masks.count);
  std::iota(first.begin(), first.end(), 0);
  if (masks.count < 2 || masks.kind == MaskKind::kFull || masks.kind == MaskKind::kHalf) return first;
  const auto bits = [&](int64_t k) {
    return std::string_view(static_cast<const char*>(masks.view.data) + k * masks.bytes, masks.bytes);
  };
  std::vector<std::pair<size_t, int64_t>> hashes(masks.count);
  for (int64_t k = 0; k < masks.count; ++k) hashes[k] = {std::hash<std::string_view>()(bits(k)), k};
  std::sort(hashes.begin(), hashes.end());
  for (int64_t i = 1; i < masks.count; ++i) {
    const int64_t before = first[hashes[i - 1].second], k = hashes[i].second;
    if (hashes[i].first == hashes[i - 1].first && bits(before) == bits(k)) first[k] = before;
  }
  return first;
}

PlaneInput plane_input(const Tensor& x, int64_t b, int64_t c, double mean, double scale) {
  const int64_t offset = b * x.stride(0) + c * x.stride(1);
  return {static_cast<const char*>(x.const_data_ptr()) + offset * int64_t(x.element_size()),
          number_of(x.scalar_type()),
          x.stride(2),
          x.stride(3),
          mean,
          scale};
}

// A plane of bytes as numbers, one row after the other. A thread does so just before it transforms the plane, so that
// the numbers never leave its caches.
template <class S>
void widen_bytes(const Tensor& x, int64_t b, int64_t c, S* to) {
  const uint8_t* const plane = static_cast<const uint8_t*>(x.const_data_ptr()) + b * x.stride(0) + c * x.stride(1);
  const int64_t height = x.size(2), width = x.size(3), row = x.stride(2), column = x.stride(3);
  for (int64_t h = 0; h < height; ++h, to += width) {
    const uint8_t* const from = plane + h * row;
    if (column == 1)
      for (int64_t w = 0; w < width; ++w) to[w] = S(from[w]);
    else
      for (int64_t w = 0; w < width; ++w) to[w] = S(from[w * column]);
  }
}

template <class S>
std::vector<double> channel_values(const std::optional<Tensor>& values, int64_t channels, double otherwise) {
  std::vector<double> result(channels, otherwise);
  if (values) {
    const S* from = static_cast<const S*>(values->const_data_ptr());
    for (int64_t c = 0; c < channels; ++c) result[c] = double(from[c]);
  }
  return result;
}

}  // namespace

// ---- spectrum -------------------------------------------------------------------------------------------------------

Tensor spectrum(const Tensor& x, const std::optional<Tensor>& mean, const std::optional<Tensor>& std) {
  constexpr const char* name = "freqkit::spectrum";
  require(x.dim() == 4, name, ": x must be [B, C, H, W].");
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  check_side_lengths(name, height, width);
  const bool bytes = x.scalar_type() == ScalarType::Byte;  // x/255, in float32
  const ScalarType dtype = bytes ? ScalarType::Float : x.scalar_type();
  check_channel_values(name, mean, channels, x, dtype);
  check_channel_values(name, std, channels, x, dtype);
  return dispatch_real(name, dtype, [&](auto zero) {
    using S = decltype(zero);
    const Transforms<S> t(height, width);
    checked_count(name, {batch, channels, t.shape.size()}, sizeof(S));
    Tensor packed = empty_on(x, {batch, channels, t.shape.size()}, dtype);
    S* to = static_cast<S*>(packed.mutable_data_ptr());
    const std::vector<double> means = channel_values<S>(mean, channels, 0), stds = channel_values<S>(std, channels, 1);
    const int64_t own = (t.scratch + 15) / 16 * 16;
    share(batch * channels, few_planes(height, width), [&](int64_t begin, int64_t end) {
      ThreadScratch<S> scratch(bytes ? own + height * width : own);
      S* const plane = scratch.get() + own;
      for (int64_t p = begin; p < end; ++p) {
        const int64_t b = p / channels, c = p % channels;
        if (bytes) widen_bytes(x, b, c, plane);
        const PlaneInput in = bytes ? PlaneInput{plane, number_of(dtype), width, 1, 255 * means[c], 1 / (255 * stds[c])}
                                    : plane_input(x, b, c, means[c], 1 / stds[c]);
        t.kernels.forward(t.shape, t.rows, t.columns, in, to + p * t.shape.size(), scratch.get());
      }
    });
    return packed;
  });
}

// The transpose of spectrum: interior rows stand for two frequencies, so a gradient of theirs enters the inverse
// transform at half weight; the transform's 1/(HW) does not belong to the transpose.
Tensor spectrum_backward(const Tensor& grad_any, int64_t height, int64_t width, const std::optional<Tensor>& std) {
  constexpr const char* name = "freqkit::spectrum_backward";
  check_side_lengths(name, height, width);
  require(grad_any.dim() == 3, name, ": grad must be a spectrum [B, C, M].");
  const Tensor grad = contiguous_of(grad_any);
  const int64_t batch = grad.size(0), channels = grad.size(1);
  check_channel_values(name, std, channels, grad);
  return dispatch_real(name, grad.scalar_type(), [&](auto zero) {
    using S = decltype(zero);
    const Transforms<S> t(height, width);
    check_packed(name, "grad", grad, t.shape.size());
    Tensor result = empty_on(grad, {batch, channels, height, width}, grad.scalar_type());
    S* to = static_cast<S*>(result.mutable_data_ptr());
    const S* from = static_cast<const S*>(grad.const_data_ptr());
    const std::vector<double> stds = channel_values<S>(std, channels, 1);
    Aligned<S> weights(t.shape.weight_size());
    for (int64_t i = 0; i < t.shape.weight_size(); ++i)
      weights.data[i] =
          S(i >= t.shape.weight_nyquist() || (i < width * t.shape.lanes && i % t.shape.lanes == 0) ? 1 : 0.5);
    const std::vector<uint8_t> live(t.shape.groups(), 1);
    share(batch * channels, few_planes(height, width), [&](int64_t begin, int64_t end) {
      ThreadScratch<S> scratch(t.scratch);
      for (int64_t p = begin; p < end; ++p) {
        const PlaneOutput out{
            to + p * height * width, number_of(grad.scalar_type()), width, 1, 1 / stds[p % channels], false};
        t.kernels.inverse(t.shape, t.rows, t.columns, from + p * t.shape.size(), weights.data, live.data(), false, out,
                          scratch.get());
      }
    });
    return result;
  });
}

// ---- spectral_filter ------------------------------------------------------------------------------------------------

namespace {

// FREQKIT_SKIP_ZEROS=off multiplies and transforms every bin of every mask, for comparison. Adding zeros is exact, but
// where it is left out the compiler joins other products and sums into one rounding: a finite result differs by 1e-7
// (float32) or 2e-16 (float64) of its norm at most.
bool zeros_are_skipped() {
  static const bool skipped = [] {
    const char* const asked = std::getenv("FREQKIT_SKIP_ZEROS");
    const std::string_view word = asked ? asked : "on";
    require(word == "on" || word == "off", "FREQKIT_SKIP_ZEROS must be on or off; got ", std::string(word), ".");
    return word == "on";
  }();
  return skipped;
}

// The weights of one block of the chosen masks at a time, at most 4 MiB of them or one mask.
template <class S>
class MaskBlock {
 public:
  MaskBlock(const Transforms<S>& transforms, const Masks& masks, const std::vector<int64_t>& chosen)
      : most(std::max<int64_t>(1, std::min((int64_t(4) << 20) / (transforms.shape.weight_size() * int64_t(sizeof(S))),
                                           int64_t(chosen.size())))),
        t_(transforms),
        masks_(masks),
        chosen_(chosen),
        weights_(most * t_.shape.weight_size()),
        live_(most * t_.shape.groups()),
        finite_(most) {}

  // Prepares chosen masks first, first + 1, ... on all threads; gives their number.
  int64_t prepare(int64_t first) {
    const int64_t height = t_.shape.height, width = t_.shape.width;
    const int64_t count = std::min(most, int64_t(chosen_.size()) - first);
    const double scale = 1.0 / (double(height) * double(width));
    share(count, 4 * few_planes(height, width), [&](int64_t begin, int64_t end) {
      ThreadScratch<S> scratch(t_.scratch);
      for (int64_t k = begin; k < end; ++k)
        finite_[k] = t_.kernels.weights(t_.shape, t_.rows, masks_.at(chosen_[first + k]), scale,
                                        weights_.data + k * t_.shape.weight_size(),
                                        live_.data() + k * t_.shape.groups(), scratch.get());
    });
    if (!zeros_are_skipped()) std::fill(live_.begin(), live_.end(), uint8_t(1));
    for (int64_t k = 0; k < count; ++k)
      require(finite_[k], "spectral_filter: masks must be finite; mask ", chosen_[first + k],
              " holds NaN or infinity.");
    return count;
  }
  const S* weights(int64_t k) const { return weights_.data + k * t_.shape.weight_size(); }
  const uint8_t* live(int64_t k) const { return live_.data() + k * t_.shape.groups(); }
  bool all_off(int64_t k) const {
    return std::all_of(live(k), live(k) + t_.shape.groups(), [](uint8_t group) { return group == 0; });
  }

  const int64_t most;

 private:
  const Transforms<S>& t_;
  const Masks& masks_;
  const std::vector<int64_t>& chosen_;
  Aligned<S> weights_;
  std::vector<uint8_t> live_, finite_;
};

// The gradient of mask k's image b, channel c; of [B, C, H, W] when paired, else of [K, B, C, H, W].
PlaneInput gradient_plane(const Tensor& grad, bool paired, int64_t k, int64_t b, int64_t c) {
  const int64_t at = paired ? 0 : 1;
  const int64_t offset = (paired ? 0 : k * grad.stride(0)) + b * grad.stride(at) + c * grad.stride(at + 1);
  return {static_cast<const char*>(grad.const_data_ptr()) + offset * int64_t(grad.element_size()),
          number_of(grad.scalar_type()),
          grad.stride(at + 2),
          grad.stride(at + 3),
          0,
          1};
}

template <class S>
void filter_into(const Tensor& packed, int64_t height, int64_t width, const Masks& masks, bool paired,
                 bool channels_last, const Tensor& out) {
  const int64_t batch = packed.size(0), channels = packed.size(1);
  const bool rgb = channels_last && channels == 3;  // then a unit of work is an image, else a plane
  const Transforms<S> t(height, width, rgb ? 3 : 1);
  const int64_t per_image = rgb ? 1 : channels;
  const int64_t units = batch * per_image, plane_size = height * width, weight_size = t.shape.weight_size();
  const S* from = static_cast<const S*>(packed.const_data_ptr());
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const int64_t item = int64_t(out.element_size());
  const Number dtype = number_of(out.scalar_type());

  // Rows are written in pieces of one or two cache lines; where no cache holds the result, that is several times
  // faster past the caches.
  constexpr int64_t kHeldByCaches = int64_t(6) << 20;
  const bool stream = out.numel() * item > kHeldByCaches;
  const bool many_spectra = packed.numel() * int64_t(sizeof(S)) > int64_t(1) << 20;  // more than the second-level cache

  const auto run = [&](int64_t image_slot, int64_t unit, const MaskBlock<S>& prepared, int64_t k, bool first_use,
                       S* scratch) {
    const int64_t c = unit % per_image;
    const int64_t at = image_slot * channels * plane_size + (channels_last ? c : c * plane_size);
    const int64_t step = channels_last ? channels : 1;
    if (prepared.all_off(k)) {
      if (rgb || step == 1)
        std::memset(to + at * item, 0, plane_size * (rgb ? channels : 1) * item);
      else
        for (int64_t i = 0; i < plane_size; ++i) std::memset(to + (at + i * step) * item, 0, item);
      return;
    }
    const PlaneOutput target{to + at * item, dtype, width * step, step, 1, stream};
    const auto kernel = rgb ? t.kernels.inverse_rgb : t.kernels.inverse;
    kernel(t.shape, t.rows, t.columns, from + unit * (channels / per_image) * t.shape.size(), prepared.weights(k),
           prepared.live(k), first_use && many_spectra, target, scratch);
  };

  // Equal masks are computed once: with every image, the others are copies; with one image each, they share weights.
  const std::vector<int64_t> first_of = first_equal(masks);
  std::vector<int64_t> chosen, slot(masks.count);
  for (int64_t k = 0; k < masks.count; ++k) {
    if (first_of[k] == k) chosen.push_back(k);
    slot[k] = first_of[k] == k ? int64_t(chosen.size()) - 1 : slot[first_of[k]];
  }
  std::vector<int64_t> images;  // of paired masks, in the order of their slots
  if (paired) {
    images.resize(masks.count);
    std::iota(images.begin(), images.end(), 0);
    std::stable_sort(images.begin(), images.end(), [&](int64_t a, int64_t b) { return slot[a] < slot[b]; });
  }

  // Masks go in blocks: all threads prepare a block's weights, then share (few masks) x (some planes) tiles of it, so
  // that a tile's weights and the spectrum at hand stay in the second-level cache.
  MaskBlock<S> prepared(t, masks, chosen);
  const int64_t threads = torch::stable::get_num_threads();
  int64_t image0 = 0;
  for (int64_t first = 0; first < int64_t(chosen.size()); first += prepared.most) {
    const int64_t block = prepared.prepare(first);
    if (paired) {
      int64_t image1 = image0;
      while (image1 < masks.count && slot[images[image1]] < first + block) ++image1;
      share((image1 - image0) * per_image, few_planes(height, width), [&](int64_t begin, int64_t end) {
        ThreadScratch<S> scratch(t.scratch);
        for (int64_t i = begin; i < end; ++i) {
          const int64_t image = images[image0 + i / per_image];
          run(image, image * per_image + i % per_image, prepared, slot[image] - first, true, scratch.get());
        }
      });
      image0 = image1;
      continue;
    }
    int64_t tile_masks = std::clamp<int64_t>((int64_t(256) << 10) / (weight_size * int64_t(sizeof(S))), 1, block);
    int64_t tile_units = std::min<int64_t>(units, rgb ? 3 : 8);
    const auto tiles = [](int64_t count, int64_t each) { return (count + each - 1) / each; };
    if (threads > 1)  // smaller ones rather than idle threads, as long as a tile is some microseconds of work
      while (tiles(block, tile_masks) * tiles(units, tile_units) < 4 * threads &&
             tile_masks * tile_units >= 2 * few_planes(height, width)) {
        int64_t& larger = tile_units > 1 ? tile_units : tile_masks;
        larger = (larger + 1) / 2;
      }
    const int64_t mask_tiles = tiles(block, tile_masks), unit_tiles = tiles(units, tile_units);
    share(mask_tiles * unit_tiles, 1, [&](int64_t begin, int64_t end) {
      ThreadScratch<S> scratch(t.scratch);
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t k0 = tile % mask_tiles * tile_masks, u0 = tile / mask_tiles * tile_units;
        for (int64_t u = u0; u < std::min(units, u0 + tile_units); ++u)
          for (int64_t k = k0; k < std::min(block, k0 + tile_masks); ++k)
            run(chosen[first + k] * batch + u / per_image, u, prepared, k, k == k0, scratch.get());
      }
    });
  }
  if (!paired && int64_t(chosen.size()) < masks.count) {
    const int64_t bytes = channels * plane_size * item;
    share(masks.count * batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (first_of[i / batch] != i / batch)
          std::memcpy(to + i * bytes, to + (first_of[i / batch] * batch + i % batch) * bytes, bytes);
    });
  }
}

int64_t packed_size(const Tensor& packed, int64_t height, int64_t width) {
  check_side_lengths("freqkit::spectral_filter", height, width);
  return dispatch_real("freqkit::spectral_filter", packed.scalar_type(), [&](auto zero) {
    return PlaneShape{int(height), int(width), kernels_in_use(decltype(zero){}).lanes}.size();
  });
}

void filter_dispatch(const Tensor& packed, int64_t height, int64_t width, const Tensor& mask, int64_t kind,
                     const std::vector<int64_t>& cell, bool paired, bool channels_last, const Tensor& out) {
  if (out.numel() == 0) return;
  dispatch_real("freqkit::spectral_filter", packed.scalar_type(), [&](auto zero) {
    filter_into<decltype(zero)>(packed, height, width, masks_of(mask, kind, cell), paired, channels_last, out);
    return 0;
  });
}

}  // namespace

Tensor spectral_filter(const Tensor& packed_any, int64_t height, int64_t width, const Tensor& mask_any, int64_t kind,
                       std::vector<int64_t> cell, bool paired, ScalarType dtype, bool channels_last) {
  const Tensor packed = contiguous_of(packed_any), mask = contiguous_of(mask_any);
  check_filter("freqkit::spectral_filter", packed, packed_size(packed, height, width), height, width, mask, kind, cell,
               paired, dtype);
  const int64_t channels = packed.size(1);
  std::vector<int64_t> size = {packed.size(0)};
  if (!paired) size.insert(size.begin(), mask.size(0));
  if (channels_last)
    size.insert(size.end(), {height, width, channels});
  else
    size.insert(size.end(), {channels, height, width});
  const Tensor out = empty_on(packed, size, dtype);
  filter_dispatch(packed, height, width, mask, kind, cell, paired, channels_last, out);
  return channels_last ? channels_first(out) : out;
}

void spectral_filter_out(const Tensor& packed_any, int64_t height, int64_t width, const Tensor& mask_any, int64_t kind,
                         std::vector<int64_t> cell, bool paired, bool channels_last, Tensor out) {
  constexpr const char* name = "freqkit::spectral_filter_out";
  const Tensor packed = contiguous_of(packed_any), mask = contiguous_of(mask_any);
  check_filter(name, packed, packed_size(packed, height, width), height, width, mask, kind, cell, paired,
               out.scalar_type());
  check_out(name, out, paired ? -1 : mask.size(0), packed.size(0), packed.size(1), height, width, channels_last,
            packed);
  check_apart(name, out, "the spectrum", packed);
  check_apart(name, out, "masks", mask);
  filter_dispatch(packed, height, width, mask, kind, cell, paired, channels_last, out);
}

// ---- transposes -----------------------------------------------------------------------------------------------------

// With respect to the packed spectrum: sum over masks of m_k times the transform of the gradient, masks in their order.
Tensor spectral_filter_backward_spectrum(const Tensor& grad, int64_t height, int64_t width, const Tensor& mask_any,
                                         int64_t kind, std::vector<int64_t> cell, bool paired, ScalarType dtype) {
  constexpr const char* name = "freqkit::spectral_filter_backward_spectrum";
  const Tensor mask = contiguous_of(mask_any);
  check_side_lengths(name, height, width);
  check_masks(name, mask, kind, cell, height, width, dtype, grad);
  check_gradient(name, grad, paired, mask.size(0), height, width);
  const int64_t at = paired ? 0 : 1, batch = grad.size(at), channels = grad.size(at + 1);
  return dispatch_real(name, dtype, [&](auto zero) {
    using S = decltype(zero);
    const Transforms<S> t(height, width);
    checked_count(name, {batch, channels, t.shape.size()}, sizeof(S));
    const Masks masks = masks_of(mask, kind, cell);
    Tensor result = zeros_on(grad, {batch, channels, t.shape.size()}, dtype);
    S* to = static_cast<S*>(result.mutable_data_ptr());
    std::vector<int64_t> every(masks.count);
    std::iota(every.begin(), every.end(), 0);
    MaskBlock<S> prepared(t, masks, every);
    for (int64_t first = 0; first < masks.count; first += prepared.most) {
      const int64_t block = prepared.prepare(first);
      const int64_t image0 = paired ? first : 0, images = paired ? block : batch;
      torch::stable::parallel_for(0, images * channels, 1, [&](int64_t begin, int64_t end) {
        ThreadScratch<S> scratch(t.scratch);
        Aligned<S> transformed(t.shape.size());
        for (int64_t i = begin; i < end; ++i) {
          const int64_t b = image0 + i / channels, c = i % channels;
          for (int64_t k = paired ? b - first : 0; k < (paired ? b - first + 1 : block); ++k) {
            t.kernels.forward(t.shape, t.rows, t.columns, gradient_plane(grad, paired, first + k, b, c),
                              transformed.data, scratch.get());
            t.kernels.accumulate(t.shape, prepared.weights(k), transformed.data,
                                 to + (b * channels + c) * t.shape.size());
          }
        }
      });
    }
    return result;
  });
}

// With respect to a dense mask: (1/HW) Re(conj(X) G) per frequency, summed over images and channels. A mask's planes
// are summed in eight fixed shares, so that the sum does not depend on the number of threads.
Tensor spectral_filter_backward_mask(const Tensor& grad, const Tensor& packed_any, int64_t height, int64_t width,
                                     int64_t kind, bool paired) {
  constexpr const char* name = "freqkit::spectral_filter_backward_mask";
  const Tensor packed = contiguous_of(packed_any);
  require(kind == 0 || kind == 1, name, ": only dense masks have gradients; got kind ", kind, ".");
  check_side_lengths(name, height, width);
  require(packed.dim() == 3, name, ": packed must be a spectrum [B, C, M].");
  const int64_t batch = packed.size(0), channels = packed.size(1);
  check_gradient(name, grad, paired, paired ? batch : -1, height, width);
  check_device(name, "grad", grad, packed);
  require(grad.size(paired ? 0 : 1) == batch && grad.size(paired ? 1 : 2) == channels, name,
          ": grad must have the spectrum's B and C.");
  const int64_t count = grad.size(0);
  return dispatch_real(name, packed.scalar_type(), [&](auto zero) {
    using S = decltype(zero);
    const Transforms<S> t(height, width);
    check_packed(name, "packed", packed, t.shape.size());
    const int64_t columns = kind == 0 ? width : width / 2 + 1, weight_size = t.shape.weight_size();
    checked_count(name, {count, height, columns}, sizeof(S));
    if (batch * channels == 0) return zeros_on(grad, {count, height, columns}, packed.scalar_type());
    Tensor result = empty_on(grad, {count, height, columns}, packed.scalar_type());
    S* to = static_cast<S*>(result.mutable_data_ptr());
    const S* from = static_cast<const S*>(packed.const_data_ptr());
    const S scale = S(1.0 / (double(height) * double(width)));
    constexpr int64_t kShares = 8;
    const int64_t planes = paired ? channels : batch * channels, shares = std::min(kShares, planes);
    Aligned<S> sums(kShares * weight_size);
    for (int64_t k = 0; k < count; ++k) {
      torch::stable::parallel_for(0, shares, 1, [&](int64_t begin, int64_t end) {
        ThreadScratch<S> scratch(t.scratch);
        Aligned<S> transformed(t.shape.size());
        for (int64_t share = begin; share < end; ++share) {
          S* sum = sums.data + share * weight_size;
          std::memset(sum, 0, sizeof(S) * weight_size);
          for (int64_t i = share * planes / shares; i < (share + 1) * planes / shares; ++i) {
            const int64_t b = paired ? k : i / channels, c = i % channels;
            t.kernels.forward(t.shape, t.rows, t.columns, gradient_plane(grad, paired, k, b, c), transformed.data,
                              scratch.get());
            t.kernels.correlate(t.shape, from + (b * channels + c) * t.shape.size(), transformed.data, sum);
          }
        }
      });
      for (int64_t share = 1; share < shares; ++share)
        for (int64_t i = 0; i < weight_size; ++i) sums.data[i] += sums.data[share * weight_size + i];
      const int lanes = t.shape.lanes;
      const auto value = [&](int64_t ky, int64_t kx) {  // any ky, by symmetry
        if (2 * ky > height) ky = height - ky, kx = kx == 0 ? 0 : width - kx;
        if (2 * ky == height) return sums.data[t.shape.weight_nyquist() + kx];
        return sums.data[(ky / lanes * width + kx) * lanes + ky % lanes];
      };
      for (int64_t ky = 0; ky < height; ++ky)
        for (int64_t kx = 0; kx < columns; ++kx) {
          const bool twice = kind == 1 && kx > 0 && 2 * kx < width;
          to[(k * height + ky) * columns + kx] = value(ky, kx) * scale * S(twice ? 2 : 1);
        }
    }
    return result;
  });
}

}  // namespace freqkit

STABLE_TORCH_LIBRARY_IMPL(freqkit, CPU, m) {
  m.impl("spectrum", TORCH_BOX(&freqkit::spectrum));
  m.impl("spectrum_backward", TORCH_BOX(&freqkit::spectrum_backward));
  m.impl("spectral_filter", TORCH_BOX(&freqkit::spectral_filter));
  m.impl("spectral_filter_out", TORCH_BOX(&freqkit::spectral_filter_out));
  m.impl("spectral_filter_backward_spectrum", TORCH_BOX(&freqkit::spectral_filter_backward_spectrum));
  m.impl("spectral_filter_backward_mask", TORCH_BOX(&freqkit::spectral_filter_backward_mask));
}

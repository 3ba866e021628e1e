// The CUDA operators: tensors in, tensors out, launches on torch's current stream.
#include "../common/checks.h"
#include "../common/torch.h"
#include "spectral_filter.cuh"

namespace freqkit::device {
namespace {

template <class T>
struct Memory {
  Geometry geometry;
  Tensor bytes;
  Memory(const Stream& stream, const Tensor& like, int64_t height, int64_t width, int64_t planes)
      : geometry(make_geometry(height, width, planes, sizeof(Complex<T>), stream.shared_limit())),
        bytes(empty_on(like, {int64_t(geometry.bytes)}, ScalarType::Byte)) {}
  Work<T> work() const { return {geometry, static_cast<char*>(bytes.mutable_data_ptr())}; }
};

template <class T>
const T* channel_values(const std::optional<Tensor>& values) {
  return values ? static_cast<const T*>(values->const_data_ptr()) : nullptr;
}

MaskView mask_view(const Tensor& mask, int64_t kind, const std::vector<int64_t>& cell) {
  MaskView view;
  view.data = mask.const_data_ptr();
  view.kind = MaskKind(kind);
  if (is_dense(view.kind)) return view;
  view.cell_height = int(cell[0]);
  view.cell_width = int(cell[1]);
  view.cell_rows = int(mask.size(1));
  view.row_bytes = int(mask.size(2));
  return view;
}

int64_t packed_size(int64_t height, int64_t width) { return (height / 2 + 1) * width * 2; }

// [..., C, H, W] whose leading dimensions step evenly; a copy when they do not.
Tensor evenly_stepped(const Tensor& x) {
  if (x.dim() == 5 && x.size(0) > 1 && x.stride(0) != x.size(1) * x.stride(1)) return contiguous_of(x);
  return x;
}
ImageView input_view(const Tensor& x) {
  const int64_t d = x.dim();
  return {x.const_data_ptr(), number_of(x.scalar_type()), x.stride(d - 4), x.stride(d - 3), x.stride(d - 2),
          x.stride(d - 1)};
}
ImageView output_view(const Tensor& out, int64_t channels, int64_t height, int64_t width, bool channels_last) {
  const Number type = number_of(out.scalar_type());
  if (channels_last) return {nullptr, type, channels * height * width, 1, width * channels, channels};
  return {nullptr, type, channels * height * width, height * width, width, 1};
}

template <class T>
void set_weights(T& self_weight, T& inner_weight, int64_t height, int64_t width) {
  self_weight = T(1.0 / (double(height) * double(width)));
  inner_weight = T(2.0 / (double(height) * double(width)));
}

void filter_into(const Tensor& packed, int64_t height, int64_t width, const Tensor& mask, int64_t kind,
                 const std::vector<int64_t>& cell, bool paired, bool channels_last, const Tensor& out) {
  if (out.numel() == 0) return;
  dispatch_real("freqkit::spectral_filter", packed.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const Stream stream(packed);
    const int64_t channels = packed.size(1), images = packed.size(0) * channels, masks = paired ? 1 : mask.size(0);
    InverseArguments<T> a{};
    a.spectrum = static_cast<const Complex<T>*>(packed.const_data_ptr());
    a.mask = mask_view(mask, kind, cell);
    a.masks = masks;
    a.images = images;
    a.channels = int(channels);
    a.paired = paired;
    set_weights(a.self_weight, a.inner_weight, height, width);
    a.out = output_view(out, channels, height, width, channels_last);
    a.out_data = out.mutable_data_ptr();
    if constexpr (std::is_same_v<T, float>) {
      const bool fused = out.scalar_type() != ScalarType::Double &&
                         with_fused_plan(int(height), int(width), stream.shared_limit(), [&](auto plan) {
                           using Plan = decltype(plan);
                           const FusedGeometry g = fused_geometry(Plan::N, Plan::D, masks, images, a.channels, paired,
                                                                  is_bits(a.mask.kind));
                           const Tensor memory = empty_on(packed, {int64_t(g.bytes)}, ScalarType::Byte);
                           fused_inverse<Plan>(stream, static_cast<char*>(memory.mutable_data_ptr()), a);
                         });
      if (fused) return;
    }
    const Memory<T> memory(stream, packed, height, width, masks * images);
    inverse(stream, memory.work(), a);
  });
}

}  // namespace

Tensor spectrum(const Tensor& x, const std::optional<Tensor>& mean, const std::optional<Tensor>& std) {
  constexpr const char* name = "freqkit::spectrum";
  require(x.dim() == 4, name, ": x must be [B, C, H, W].");
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  check_side_lengths(name, height, width);
  check_channel_values(name, mean, channels, x);
  check_channel_values(name, std, channels, x);
  return dispatch_real(name, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    checked_count(name, {batch, channels, packed_size(height, width)}, sizeof(T));
    Tensor packed = empty_on(x, {batch, channels, packed_size(height, width)}, x.scalar_type());
    if (packed.numel() == 0) return packed;
    const Stream stream(x);
    const Memory<T> memory(stream, x, height, width, batch * channels);
    ForwardArguments<T> a{};
    a.in = input_view(x);
    a.mean = channel_values<T>(mean);
    a.divisor = channel_values<T>(std);
    a.outer = batch * channels;
    a.inner = 1;
    a.outer_step = 1;
    a.channels = int(channels);
    a.sum = RowSum::spectrum;
    a.spectrum = static_cast<Complex<T>*>(packed.mutable_data_ptr());
    forward(stream, memory.work(), a);
    return packed;
  });
}

// The transpose of spectrum: the inverse with every row at weight one and without 1/(HW).
Tensor spectrum_backward(const Tensor& grad_any, int64_t height, int64_t width, const std::optional<Tensor>& std) {
  constexpr const char* name = "freqkit::spectrum_backward";
  check_side_lengths(name, height, width);
  require(grad_any.dim() == 3, name, ": grad must be a spectrum [B, C, M].");
  const Tensor grad = contiguous_of(grad_any);
  check_packed(name, "grad", grad, packed_size(height, width));
  check_channel_values(name, std, grad.size(1), grad);
  return dispatch_real(name, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t channels = grad.size(1), images = grad.size(0) * channels;
    Tensor result = empty_on(grad, {grad.size(0), channels, height, width}, grad.scalar_type());
    if (images == 0) return result;
    const Stream stream(grad);
    const Memory<T> memory(stream, grad, height, width, images);
    InverseArguments<T> a{};
    a.spectrum = static_cast<const Complex<T>*>(grad.const_data_ptr());
    a.divisor = channel_values<T>(std);
    a.masks = 1;
    a.images = images;
    a.channels = int(channels);
    a.self_weight = a.inner_weight = T(1);
    a.out = output_view(result, channels, height, width, false);
    a.out_data = result.mutable_data_ptr();
    inverse(stream, memory.work(), a);
    return result;
  });
}

Tensor spectral_filter(const Tensor& packed_any, int64_t height, int64_t width, const Tensor& mask_any, int64_t kind,
                       std::vector<int64_t> cell, bool paired, ScalarType dtype, bool channels_last) {
  const Tensor packed = contiguous_of(packed_any), mask = contiguous_of(mask_any);
  check_filter("freqkit::spectral_filter", packed, packed_size(height, width), height, width, mask, kind, cell, paired,
               dtype);
  const int64_t channels = packed.size(1);
  std::vector<int64_t> size = {packed.size(0)};
  if (!paired) size.insert(size.begin(), mask.size(0));
  if (channels_last)
    size.insert(size.end(), {height, width, channels});
  else
    size.insert(size.end(), {channels, height, width});
  const Tensor out = empty_on(packed, size, dtype);
  filter_into(packed, height, width, mask, kind, cell, paired, channels_last, out);
  return channels_last ? channels_first(out) : out;
}

void spectral_filter_out(const Tensor& packed_any, int64_t height, int64_t width, const Tensor& mask_any, int64_t kind,
                         std::vector<int64_t> cell, bool paired, bool channels_last, Tensor out) {
  constexpr const char* name = "freqkit::spectral_filter_out";
  const Tensor packed = contiguous_of(packed_any), mask = contiguous_of(mask_any);
  check_filter(name, packed, packed_size(height, width), height, width, mask, kind, cell, paired, out.scalar_type());
  check_out(name, out, paired ? -1 : mask.size(0), packed.size(0), packed.size(1), height, width, channels_last,
            packed);
  check_apart(name, out, "the spectrum", packed);
  check_apart(name, out, "masks", mask);
  filter_into(packed, height, width, mask, kind, cell, paired, channels_last, out);
}

Tensor spectral_filter_backward_spectrum(const Tensor& grad_any, int64_t height, int64_t width, const Tensor& mask_any,
                                         int64_t kind, std::vector<int64_t> cell, bool paired, ScalarType dtype) {
  constexpr const char* name = "freqkit::spectral_filter_backward_spectrum";
  const Tensor grad = evenly_stepped(grad_any), mask = contiguous_of(mask_any);
  check_side_lengths(name, height, width);
  check_masks(name, mask, kind, cell, height, width, dtype, grad);
  check_gradient(name, grad, paired, mask.size(0), height, width);
  const int64_t at = paired ? 0 : 1;
  return dispatch_real(name, dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t batch = grad.size(at), channels = grad.size(at + 1), images = batch * channels;
    const int64_t masks = paired ? 1 : mask.size(0);
    const std::vector<int64_t> size = {batch, channels, packed_size(height, width)};
    checked_count(name, {batch, channels, packed_size(height, width)}, sizeof(T));
    if (masks == 0 || images == 0) return zeros_on(grad, size, dtype);
    const Stream stream(grad);
    Tensor result = empty_on(grad, size, dtype);
    const Memory<T> memory(stream, grad, height, width, masks * images);
    ForwardArguments<T> a{};
    a.in = input_view(grad);
    a.outer = images;
    a.inner = masks;
    a.outer_step = 1;
    a.inner_step = images;
    a.channels = int(channels);
    a.paired = paired;
    a.sum = RowSum::spectrum_gradient;
    a.spectrum = static_cast<Complex<T>*>(result.mutable_data_ptr());
    a.mask = mask_view(mask, kind, cell);
    set_weights(a.self_weight, a.inner_weight, height, width);
    forward(stream, memory.work(), a);
    return result;
  });
}

Tensor spectral_filter_backward_mask(const Tensor& grad_any, const Tensor& packed_any, int64_t height, int64_t width,
                                     int64_t kind, bool paired) {
  constexpr const char* name = "freqkit::spectral_filter_backward_mask";
  require(is_dense(MaskKind(kind)), name, ": only dense masks have gradients; got kind ", kind, ".");
  check_side_lengths(name, height, width);
  const Tensor grad = evenly_stepped(grad_any), packed = contiguous_of(packed_any);
  check_packed(name, "packed", packed, packed_size(height, width));
  check_gradient(name, grad, paired, paired ? packed.size(0) : -1, height, width);
  check_device(name, "grad", grad, packed);
  const int64_t at = paired ? 0 : 1;
  require(grad.size(at) == packed.size(0) && grad.size(at + 1) == packed.size(1), name,
          ": grad must have the spectrum's B and C.");
  return dispatch_real(name, packed.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t channels = packed.size(1), images = packed.size(0) * channels, masks = grad.size(0);
    const int64_t columns = MaskKind(kind) == MaskKind::kFull ? width : width / 2 + 1;
    const std::vector<int64_t> size = {masks, height, columns};
    const int64_t planes = paired ? channels : images;
    checked_count(name, {masks, height, columns}, sizeof(T));
    if (planes == 0 || masks == 0) return zeros_on(grad, size, packed.scalar_type());
    const Stream stream(grad);
    const int64_t shares = mask_gradient_shares(masks, planes, int(height)), inner = planes / shares;
    Tensor result = empty_on(grad, size, packed.scalar_type());
    const Tensor half = empty_on(grad, {masks * shares, height / 2 + 1, width}, packed.scalar_type());
    const Memory<T> memory(stream, grad, height, width, masks * planes);
    ForwardArguments<T> a{};
    a.in = input_view(grad);
    a.outer = masks * shares;
    a.inner = inner;
    a.shares = shares;
    a.outer_step = inner;
    a.inner_step = 1;
    a.channels = int(channels);
    a.paired = paired;
    a.sum = RowSum::mask_gradient;
    a.other = static_cast<const Complex<T>*>(packed.const_data_ptr());
    a.mask_gradient = static_cast<T*>(half.mutable_data_ptr());
    set_weights(a.self_weight, a.inner_weight, height, width);
    forward(stream, memory.work(), a);
    finish_mask_gradient(stream, memory.geometry, static_cast<const T*>(half.const_data_ptr()),
                         static_cast<T*>(result.mutable_data_ptr()), masks, shares, MaskKind(kind) == MaskKind::kFull);
    return result;
  });
}

}  // namespace freqkit::device

STABLE_TORCH_LIBRARY_IMPL(freqkit, CUDA, m) {
  namespace device = freqkit::device;
  m.impl("spectrum", TORCH_BOX(&device::spectrum));
  m.impl("spectrum_backward", TORCH_BOX(&device::spectrum_backward));
  m.impl("spectral_filter", TORCH_BOX(&device::spectral_filter));
  m.impl("spectral_filter_out", TORCH_BOX(&device::spectral_filter_out));
  m.impl("spectral_filter_backward_spectrum", TORCH_BOX(&device::spectral_filter_backward_spectrum));
  m.impl("spectral_filter_backward_mask", TORCH_BOX(&device::spectral_filter_backward_mask));
}

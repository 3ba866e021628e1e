// What an operator asks of its arguments before it reads or writes: sizes, dtypes, devices, strides, and that a result
// shares no memory with what it is made from. The Python functions say the same in their own words; whoever calls
// torch.ops.freqkit by hand meets these alone.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "torch.h"

namespace freqkit {

constexpr int64_t kMaxSide = int64_t(1) << 24;   // of an image: positions in a row are 32-bit numbers
constexpr int64_t kMaxBytes = int64_t(1) << 47;  // what a process can address

inline void check_side_lengths(const char* name, int64_t height, int64_t width) {
  require(height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide, name,
          ": H and W must be between 1 and 2^24; got ", height, " x ", width, ".");
}

// The product, which must be the number of elements of something that fits memory.
inline int64_t checked_count(const char* name, std::initializer_list<int64_t> sizes, int64_t item) {
  int64_t count = item;
  bool empty = false, fits = true;
  for (const int64_t size : sizes) {
    require(size >= 0, name, ": sizes must not be negative; got ", size, ".");
    empty = empty || size == 0;
  }
  if (empty) return 0;
  for (const int64_t size : sizes) {
    fits = fits && count <= kMaxBytes / size;
    if (fits) count *= size;
  }
  require(fits, name, ": the result would take more than 2^47 bytes.");
  return count / item;
}

inline void check_device(const char* name, const char* what, const Tensor& tensor, const Tensor& like) {
  require(tensor.is_cpu() == like.is_cpu() && tensor.is_cuda() == like.is_cuda() &&
              tensor.get_device_index() == like.get_device_index(),
          name, ": ", what, " must lie on the same device as the other tensors.");
}

// C numbers of `like`'s dtype on its device, or none.
inline void check_channel_values(const char* name, const std::optional<Tensor>& values, int64_t channels,
                                 const Tensor& like, ScalarType dtype) {
  if (!values) return;
  require(
      values->dim() == 1 && values->size(0) == channels && values->is_contiguous() && values->scalar_type() == dtype,
      name, ": mean and std must hold C=", channels,
      " contiguous numbers of the images' dtype (float32 for uint8 images).");
  check_device(name, "mean and std", *values, like);
}
inline void check_channel_values(const char* name, const std::optional<Tensor>& values, int64_t channels,
                                 const Tensor& like) {
  check_channel_values(name, values, channels, like, like.scalar_type());
}

// A packed spectrum [B, C, numbers].
inline void check_packed(const char* name, const char* what, const Tensor& packed, int64_t numbers) {
  require(packed.dim() == 3 && packed.is_contiguous() && packed.size(2) == numbers, name, ": ", what,
          " must be a contiguous spectrum [B, C, ", numbers, "] of this image size.");
}

// Kinds as in ops.cpp.
inline void check_masks(const char* name, const Tensor& mask, int64_t kind, const std::vector<int64_t>& cell,
                        int64_t height, int64_t width, ScalarType dtype, const Tensor& like) {
  require(kind >= 0 && kind <= 3, name, ": kind must be 0, 1, 2 or 3; got ", kind, ".");
  require(mask.dim() == 3 && mask.is_contiguous(), name, ": masks must be contiguous with three dimensions.");
  check_device(name, "masks", mask, like);
  if (kind <= 1) {
    require(mask.scalar_type() == dtype, name, ": dense masks must have the spectrum's dtype.");
    require(mask.size(1) == height && mask.size(2) == (kind == 0 ? width : width / 2 + 1), name,
            ": dense masks must fit the image size ", height, " x ", width, ".");
    return;
  }
  require(mask.scalar_type() == ScalarType::Byte, name, ": bit masks must be uint8.");
  require(cell.size() == 2 && cell[0] >= 1 && cell[0] <= height && height % cell[0] == 0 && cell[1] >= 1 &&
              cell[1] <= width && width % cell[1] == 0 && mask.size(1) == height / cell[0] &&
              mask.size(2) == (width / cell[1] + 7) / 8,
          name, ": bit masks and their cell must fit the image size ", height, " x ", width, ".");
}

// All that a filtering reads; `numbers` of a packed plane.
inline void check_filter(const char* name, const Tensor& packed, int64_t numbers, int64_t height, int64_t width,
                         const Tensor& mask, int64_t kind, const std::vector<int64_t>& cell, bool paired,
                         ScalarType dtype) {
  check_side_lengths(name, height, width);
  check_packed(name, "packed", packed, numbers);
  check_masks(name, mask, kind, cell, height, width, packed.scalar_type(), packed);
  require(!paired || mask.size(0) == packed.size(0), name, ": paired filtering needs as many masks as images.");
  checked_count(name, {paired ? 1 : mask.size(0), packed.size(0), packed.size(1), height, width},
                bytes_of(number_of(dtype)));
}

// [K, B, C, H, W], or [B, C, H, W] when paired, of a result with `masks` masks (any number if negative).
inline void check_gradient(const char* name, const Tensor& grad, bool paired, int64_t masks, int64_t height,
                           int64_t width) {
  const int64_t dim = paired ? 4 : 5;
  require(grad.dim() == dim && grad.size(dim - 2) == height && grad.size(dim - 1) == width &&
              (masks < 0 || grad.size(0) == masks),
          name, ": grad must have the shape of a filtered result.");
  number_of(grad.scalar_type());
}

// `out` is [B, C, H, W] or, with masks >= 0, [masks, B, C, H, W], and its strides are those of a whole tensor in the
// layout asked for (strides of dimensions of size one mean nothing).
inline void check_out(const char* name, const Tensor& out, int64_t masks, int64_t batch, int64_t channels,
                      int64_t height, int64_t width, bool channels_last, const Tensor& like) {
  const int64_t lead = masks >= 0 ? 1 : 0;
  bool fits = out.dim() == lead + 4;
  if (fits) {
    const auto size = out.sizes(), stride = out.strides();
    const int64_t wanted[4] = {batch, channels, height, width};
    fits = lead == 0 || size[0] == masks;
    for (int64_t i = 0; i < 4; ++i) fits = fits && size[lead + i] == wanted[i];
    const int64_t image = channels * height * width;
    const int64_t steps[5] = {batch * image, image, channels_last ? 1 : height * width,
                              channels_last ? width * channels : width, channels_last ? channels : 1};
    for (int64_t i = 0; i < lead + 4 && out.numel() > 0; ++i)
      fits = fits && (size[i] == 1 || stride[i] == steps[i + 1 - lead]);
  }
  require(fits, name, ": out must have the result's shape, contiguous or channels-last as asked for.");
  check_device(name, "out", out, like);
}

// Bytes from a tensor's first element to the end of its last.
inline int64_t extent(const Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  const auto size = tensor.sizes(), stride = tensor.strides();
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (size[i] - 1) * stride[i];
  return (last + 1) * int64_t(tensor.element_size());
}

inline void check_apart(const char* name, const Tensor& out, const char* what, const Tensor& other) {
  const int64_t out_bytes = extent(out), bytes = extent(other);
  if (out_bytes == 0 || bytes == 0) return;
  const auto to = reinterpret_cast<uintptr_t>(out.const_data_ptr()),
             from = reinterpret_cast<uintptr_t>(other.const_data_ptr());
  require(to + out_bytes <= from || from + bytes <= to, name, ": out must not share memory with ", what, ".");
}

// Of a bank [P, ...], bits [K, rows, bytes], the bits' numbers [P] and out [K, ...]; gives the elements of a cell's
// images. A mask's part of `out` lies as a cell's part of the bank does, without gaps.
inline int64_t check_bank(const char* name, const Tensor& bank, const Tensor& mask, const Tensor& cells,
                          const Tensor& out) {
  constexpr int64_t kMostCells = 1 << 14;  // rows of its tables are numbered in 16 bits
  require(bank.dim() >= 1 && bank.is_contiguous() && bank.size(0) >= 1 && bank.size(0) <= kMostCells, name,
          ": bank must be contiguous and hold 1 to ", kMostCells, " cells.");
  const int64_t count = bank.size(0), elements = bank.numel() / count;
  require(mask.dim() == 3 && mask.scalar_type() == ScalarType::Byte, name, ": masks must be uint8 [K, rows, bytes].");
  require(cells.dim() == 1 && cells.size(0) == count && cells.scalar_type() == ScalarType::Int, name,
          ": cells must be an int32 number for each of the bank's ", count, ".");
  const int64_t masks = mask.size(0);
  bool fits = out.dim() >= 1 && out.size(0) == masks && out.numel() == masks * elements;
  if (fits && out.numel() > 0) {
    const auto size = out.sizes(), stride = out.strides();
    std::vector<std::pair<int64_t, int64_t>> steps;
    for (int64_t i = 1; i < out.dim(); ++i)
      if (size[i] > 1) steps.emplace_back(stride[i], size[i]);
    std::sort(steps.begin(), steps.end());
    int64_t dense = 1;
    for (const auto& [step, length] : steps) {
      fits = fits && step == dense;
      dense *= length;
    }
    fits = fits && (masks == 1 || stride[0] >= elements);
  }
  require(fits, name, ": out must hold the masks' results, each without gaps.");
  for (const Tensor* tensor : {&mask, &cells, &out}) check_device(name, "masks, cells and out", *tensor, bank);
  check_apart(name, out, "the bank", bank);
  check_apart(name, out, "masks", mask);
  check_apart(name, out, "cells", cells);
  return elements;
}

}  // namespace freqkit

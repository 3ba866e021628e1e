// What the sanitizers examine: `program CASE [ORDER]`. Exit code 0 when the case ran and its numbers are
// right, 1 with a sentence when not; a sanitizer's finding has its own exit code.
#include <complex>
#include <cstdio>
#include <cstdlib>

#include "run.h"

using namespace freqkit;
using namespace freqkit::device;

namespace {

template <class T>
std::vector<std::complex<T>> direct_spectrum(const std::vector<T>& x, int planes, int height, int width) {
  const int half = height / 2 + 1;
  std::vector<std::complex<T>> result(size_t(planes) * half * width);
  for (int p = 0; p < planes; ++p)
    for (int ky = 0; ky < half; ++ky)
      for (int kx = 0; kx < width; ++kx) {
        std::complex<double> sum = 0;
        for (int h = 0; h < height; ++h)
          for (int w = 0; w < width; ++w) {
            const double turn = double(int64_t(ky) * h % height) / height + double(int64_t(kx) * w % width) / width;
            sum += double(x[(size_t(p) * height + h) * width + w]) * std::polar(1.0, -2 * M_PI * turn);
          }
        result[(size_t(p) * half + ky) * width + kx] = std::complex<T>(sum);
      }
  return result;
}

template <class T>
bool close(const std::vector<T>& got, const std::vector<T>& wanted, double tolerance, const char* what) {
  double worst = 0, scale = 1e-30;
  for (size_t i = 0; i < wanted.size(); ++i) {
    scale = std::max(scale, double(std::abs(wanted[i])));
    const double error = double(std::abs(got[i] - wanted[i]));
    worst = error > worst || std::isnan(error) ? error : worst;
  }
  if (worst <= tolerance * scale) return true;
  std::printf("%s: error %g of %g\n", what, worst, scale);
  return false;
}

// Spectrum, the identity through the inverse under all-ones masks of each kind, and both gradients, of one
// small size.
template <class T>
bool filter(int height, int width, const emulated::Limits& limits) {
  const int channels = 2, planes = 4, masks = 2, half = height / 2 + 1;
  std::vector<T> x(size_t(planes) * height * width);
  for (size_t i = 0; i < x.size(); ++i) x[i] = T(int((i * 2654435761u) >> 8 & 1023)) / T(512) - T(1);
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-13;

  emulated::Memory<T> memory(height, width, planes * masks, limits);
  const ImageView plain{nullptr,
                        sizeof(T) == 4 ? Number::f32 : Number::f64,
                        int64_t(channels) * height * width,
                        int64_t(height) * width,
                        width,
                        1};
  const emulated::Launch launch;
  std::vector<std::complex<T>> spectrum(size_t(planes) * half * width);
  ForwardArguments<T> f{};
  f.in = plain;
  f.in.data = x.data();
  f.outer = planes, f.inner = 1, f.outer_step = 1, f.channels = channels;
  f.sum = RowSum::spectrum;
  f.spectrum = reinterpret_cast<Complex<T>*>(spectrum.data());
  forward(launch, memory.work(), f);
  bool right = close(spectrum, direct_spectrum(x, planes, height, width), tolerance, "spectrum");

  const T scale = T(1) / (T(height) * T(width));
  std::vector<T> dense(size_t(masks) * height * width, T(1));
  std::vector<T> half_plane(size_t(masks) * height * (width / 2 + 1), T(1));
  std::vector<unsigned char> bits(size_t(masks) * height * ((width + 7) / 8), 0xff);
  for (MaskKind kind : {MaskKind::kFull, MaskKind::kHalf, MaskKind::kBitsAverage, MaskKind::kBitsHermitian}) {
    MaskView mask;
    mask.kind = kind;
    mask.data = kind == MaskKind::kFull   ? static_cast<const void*>(dense.data())
                : kind == MaskKind::kHalf ? static_cast<const void*>(half_plane.data())
                                          : bits.data();
    mask.cell_rows = height;
    mask.row_bytes = (width + 7) / 8;
    std::vector<T> y(x.size() * masks);
    InverseArguments<T> a{reinterpret_cast<const Complex<T>*>(spectrum.data()),
                          mask,
                          nullptr,
                          masks,
                          planes,
                          channels,
                          false,
                          scale,
                          2 * scale,
                          plain,
                          y.data()};
    if (kind == MaskKind::kHalf) a.out = {nullptr, plain.type, plain.image, 1, width * channels, channels};
    inverse(launch, memory.work(), a);
    std::vector<T> expected;
    for (int k = 0; k < masks; ++k) expected.insert(expected.end(), x.begin(), x.end());
    if (kind == MaskKind::kHalf)
      for (size_t i = 0; i < expected.size(); ++i) {
        const size_t image = i / (channels * height * width), rest = i % (channels * height * width);
        expected[i] =
            x[((image % (planes / channels)) * channels + rest % channels) * height * width + rest / channels];
      }
    right &= close(y, expected, tolerance, "inverse");
  }

  f.in.data = dense.data();  // any numbers do for the gradients; their values are compared in Python
  std::vector<T> gradient(size_t(planes) * masks * height * width, T(1));
  f.in.data = gradient.data();
  f.inner = masks, f.inner_step = planes, f.sum = RowSum::spectrum_gradient;
  f.self_weight = scale, f.inner_weight = 2 * scale;
  f.mask.kind = MaskKind::kFull, f.mask.data = dense.data();
  forward(launch, memory.work(), f);
  std::vector<T> half_gradient(size_t(masks) * half * width), mask_gradient(size_t(masks) * height * width);
  f.outer = masks, f.inner = planes, f.outer_step = planes, f.inner_step = 1, f.shares = 1,
  f.sum = RowSum::mask_gradient;
  f.other = reinterpret_cast<const Complex<T>*>(spectrum.data());
  f.mask_gradient = half_gradient.data();
  forward(launch, memory.work(), f);
  finish_mask_gradient(launch, memory.geometry, half_gradient.data(), mask_gradient.data(), masks, 1, true);
  for (T value : mask_gradient) right &= !std::isnan(value);
  return right;
}

// All-ones masks through the fused kernel give the image back.
template <class Plan>
bool fused(bool bits, bool channels_last, Number type) {
  constexpr int n = Plan::N, half = n / 2 + 1;
  const int channels = n < 100 ? 3 : 1, images = channels, masks = n < 100 ? 2 : 1;
  // The spectrum of a wave of known phase, so that no transform is needed: x = cos(2 pi (2 h + 3 w)/n + c).
  std::vector<Complex<float>> spectrum(size_t(images) * half * n);
  for (int c = 0; c < images; ++c) {
    spectrum[(size_t(c) * half + 2) * n + 3] = {float(0.5 * n * n * std::cos(c)), float(0.5 * n * n * std::sin(c))};
  }
  MaskView mask;
  const std::vector<float> ones(size_t(masks) * n * n, 1.0f);
  const std::vector<unsigned char> cells(size_t(masks) * 16 * 2, 0xff);
  mask.kind = bits ? MaskKind::kBitsHermitian : MaskKind::kFull;
  mask.data = bits ? static_cast<const void*>(cells.data()) : ones.data();
  mask.cell_height = mask.cell_width = n / 16;
  mask.cell_rows = 16, mask.row_bytes = 2;
  const int64_t image = int64_t(channels) * n * n;
  const ImageView out = channels_last ? ImageView{nullptr, type, image, 1, n * channels, channels}
                                      : ImageView{nullptr, type, image, n * n, n, 1};
  const emulated::DeviceArray<char> y(size_t(masks * image) * bytes_of(type));
  const float scale = 1.0f / (float(n) * float(n));
  const InverseArguments<float> a{spectrum.data(), mask,  nullptr,   masks, images,  channels,
                                  false,           scale, 2 * scale, out,   y.data()};
  const emulated::DeviceArray<char> memory(fused_geometry(n, Plan::D, masks, images, channels, false, bits).bytes);
  fused_inverse<Plan>(emulated::Launch{}, memory.data(), a);
  for (int k = 0; k < masks; ++k)
    for (int c = 0; c < channels; ++c)
      for (int h = 0; h < n; ++h)
        for (int w = 0; w < n; ++w) {
          const int64_t at = k * image + c * out.channel + h * out.row + w * out.column;
          const float got = type == Number::f32 ? reinterpret_cast<const float*>(y.data())[at]
                                                : widen(reinterpret_cast<const BFloat16*>(y.data())[at]);
          const double wanted = std::cos(2 * M_PI * ((2 * h + 3 * w) % n) / n + c);
          if (!(std::abs(got - wanted) < (type == Number::f32 ? 1e-5 : 1e-2))) {
            std::printf("fused %d: %g instead of %g\n", n, got, wanted);
            return false;
          }
        }
  return true;
}

bool fused_sizes() {
  bool right = true;
  const auto run = [&](auto plan) {
    using Plan = decltype(plan);
    right &= fused<Plan>(true, true, Number::bf16) && fused<Plan>(false, false, Number::f32);
  };
  for (int n : {32, 64, 96, 128, 224, 256, 288, 320, 384}) with_fused_plan(n, n, 227 * 1024, run);
  with_fused_plan(224, 224, 64 * 1024, run);
  return right;
}

bool filters() {
  bool right = true;
  const int sizes[][2] = {{1, 1}, {2, 3}, {8, 6}, {5, 16}, {11, 9}, {28, 18}};
  for (const auto& size : sizes) right &= filter<float>(size[0], size[1], {});
  right &= filter<double>(12, 14, {});
  right &= filter<float>(13, 6, {0, 1});      // buffers in global memory, one plane at a time
  right &= filter<float>(12, 22, {1500, 1});  // few lanes
  return right;
}

template <class T>
bool bank(int cells, int masks, int elements, size_t shared, Number type, int gap) {
  std::vector<T> images(size_t(cells) * elements);
  for (size_t i = 0; i < images.size(); ++i) images[i] = T(int(i * 7 % 23) - 11);
  std::vector<int32_t> positions(cells);
  const int mask_bytes = cells / 8 + 1;
  for (int c = 0; c < cells; ++c) positions[c] = cells - 1 - c;
  std::vector<unsigned char> bits(size_t(masks) * mask_bytes);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<unsigned char>(i * 37 + 5);
  const BankGeometry g = bank_geometry(cells, masks, shared);
  const emulated::DeviceArray<char> memory(g.bytes);
  const int64_t stride = elements + gap;
  const emulated::DeviceArray<char> out(size_t(((masks - 1) * stride + elements) * bytes_of(type)));
  bank_sum(emulated::Launch{}, g, memory.data(),
           BankArguments<T>{images.data(), cells, elements, elements, bits.data(), positions.data(), masks, mask_bytes,
                            out.data(), type, stride});
  for (int k = 0; k < masks; ++k)
    for (int e = 0; e < elements; ++e) {
      double wanted = 0;
      for (int c = 0; c < cells; ++c)
        if (bits[size_t(k) * mask_bytes + positions[c] / 8] >> positions[c] % 8 & 1)
          wanted += double(images[size_t(c) * elements + e]);
      const int64_t at = k * stride + e;
      const double got = type == Number::f32   ? double(reinterpret_cast<const float*>(out.data())[at])
                         : type == Number::f64 ? reinterpret_cast<const double*>(out.data())[at]
                                               : double(widen(reinterpret_cast<const BFloat16*>(out.data())[at]));
      if (!(std::abs(got - wanted) <= (type == Number::bf16 ? 1.0 : 0.0))) {  // small integers: exact
        std::printf("bank of %d: %g instead of %g\n", cells, got, wanted);
        return false;
      }
    }
  return true;
}

bool banks() {
  bool right = true;
  for (const size_t shared : {size_t(0), size_t(64 * 1024)}) {
    right &= bank<float>(5, 41, 300, shared, Number::f32, 0);
    right &= bank<float>(16, 9, 257, shared, Number::bf16, 1);
    right &= bank<float>(37, 3, 64, shared, Number::bf16, 4);
    right &= bank<double>(3, 7, 130, shared, Number::f64, 0);
  }
  return right;
}

}  // namespace

int main(int count, char** words) {
  const std::string test = count > 1 ? words[1] : "filter", order = count > 2 ? words[2] : "forward";
  emulator::settings.order = order == "reverse"    ? emulator::Order::reverse
                             : order == "shuffled" ? emulator::Order::shuffled
                                                   : emulator::Order::forward;
  const std::pair<const char*, self_test::Fault> faults[] = {{"none", self_test::Fault::none},
                                                             {"no-barrier", self_test::Fault::no_barrier},
                                                             {"out-of-bounds", self_test::Fault::out_of_bounds}};
  try {
    for (const auto& [name, fault] : faults)
      if (test == name) {
        const float sum = emulated::block_sum(std::vector<float>(1000, 1.0f), fault);
        std::printf("sum %g\n", sum);
        return sum == 1000.0f ? 0 : 1;
      }
    if (test == "filter") return filters() ? 0 : 1;
    if (test == "fused") return fused_sizes() ? 0 : 1;
    if (test == "bank") return banks() ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
  std::printf("unknown case %s\n", test.c_str());
  return 1;
}

// Python's view of the emulator: numpy arrays in and out, so that pytest compares kernels with float64
// references.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "run.h"

namespace py = pybind11;
using namespace freqkit;
using namespace freqkit::device;

namespace {

std::vector<emulator::Counts> launches;
emulated::Launch recorder() {
  launches.clear();
  emulated::Launch launch;
  launch.counts_of = &launches;
  return launch;
}

template <class T>
const T* data_or_null(const py::object& object) {
  return object.is_none() ? nullptr : py::cast<py::array_t<T, py::array::c_style>>(object).data();
}

Number number_named(const std::string& name) {
  if (name == "float32") return Number::f32;
  if (name == "float64") return Number::f64;
  if (name == "float16") return Number::f16;
  if (name == "bfloat16") return Number::bf16;
  throw py::value_error("unknown number type " + name);
}

emulated::Limits limits_of(const py::dict& options) {
  emulated::Limits limits;
  if (options.contains("shared")) limits.shared = py::cast<size_t>(options["shared"]);
  if (options.contains("scratch")) limits.scratch = py::cast<int64_t>(options["scratch"]);
  return limits;
}

MaskView mask_of(const py::object& mask, int kind, std::pair<int, int> cell, int height) {
  MaskView view;
  view.kind = MaskKind(kind);
  if (mask.is_none()) return view;
  const py::array array = py::cast<py::array>(mask);
  view.data = array.data();
  view.cell_height = cell.first;
  view.cell_width = cell.second;
  if (is_bits(view.kind)) {
    view.cell_rows = height / cell.first;
    view.row_bytes = int(array.shape(2));
  }
  return view;
}

// Contiguous or channels-last [.., C, H, W].
ImageView image_view(const void* data, Number type, int64_t channels, int64_t height, int64_t width,
                     bool channels_last) {
  const int64_t image = channels * height * width;
  if (channels_last) return {data, type, image, 1, width * channels, channels};
  return {data, type, image, height * width, width, 1};
}

template <class T>
py::array inverse_of(py::array_t<std::complex<T>, py::array::c_style> spectrum, int height, int width, int channels,
                     const py::object& mask, int kind, std::pair<int, int> cell, bool paired, const py::object& divisor,
                     const std::string& out_type, bool channels_last, bool weighted, const py::dict& options) {
  const int64_t images = spectrum.shape(0);
  const emulated::DeviceArray<std::complex<T>> device_spectrum(spectrum.data(), size_t(spectrum.size()));
  const int64_t masks = MaskKind(kind) == MaskKind::kNone || paired ? 1 : py::cast<py::array>(mask).shape(0);
  const Number type = number_named(out_type);
  const char* formats[] = {"f4", "f8", "u2", "u2"};
  py::array out{py::dtype(formats[int(type)]), std::vector<int64_t>{masks * images * height * width}};
  const emulated::DeviceArray<char> device_out(size_t(out.nbytes()));
  emulated::Memory<T> memory(height, width, masks * images, limits_of(options));
  const T scale = T(1) / (T(height) * T(width));
  const InverseArguments<T> arguments{reinterpret_cast<const Complex<T>*>(device_spectrum.data()),
                                      mask_of(mask, kind, cell, height),
                                      data_or_null<T>(divisor),
                                      masks,
                                      images,
                                      channels,
                                      paired,
                                      weighted ? scale : T(1),
                                      weighted ? 2 * scale : T(1),
                                      image_view(nullptr, type, channels, height, width, channels_last),
                                      device_out.data()};
  inverse(recorder(), memory.work(), arguments);
  std::memcpy(out.mutable_data(), device_out.data(), device_out.size());
  return out;
}

// The same by the fused kernel; None when no plan fits.
py::object fused_inverse_of(py::array_t<std::complex<float>, py::array::c_style> spectrum, int height, int width,
                            int channels, const py::array& mask, int kind, std::pair<int, int> cell, bool paired,
                            const std::string& out_type, bool channels_last, const py::dict& options) {
  const emulated::Limits limits = limits_of(options);
  const int64_t images = spectrum.shape(0), masks = paired ? 1 : mask.shape(0);
  const emulated::DeviceArray<std::complex<float>> device_spectrum(spectrum.data(), size_t(spectrum.size()));
  const emulated::DeviceArray<char> device_mask(static_cast<const char*>(mask.data()), size_t(mask.nbytes()));
  const Number type = number_named(out_type);
  const char* formats[] = {"f4", "f8", "u2", "u2"};
  py::array out{py::dtype(formats[int(type)]), std::vector<int64_t>{masks * images * height * width}};
  const emulated::DeviceArray<char> device_out(size_t(out.nbytes()));
  MaskView view = mask_of(mask, kind, cell, height);
  view.data = device_mask.data();
  const float scale = 1.0f / (float(height) * float(width));
  const InverseArguments<float> a{reinterpret_cast<const Complex<float>*>(device_spectrum.data()),
                                  view,
                                  nullptr,
                                  masks,
                                  images,
                                  channels,
                                  paired,
                                  scale,
                                  2 * scale,
                                  image_view(nullptr, type, channels, height, width, channels_last),
                                  device_out.data()};
  const bool found = with_fused_plan(height, width, limits.shared, [&](auto plan) {
    using Plan = decltype(plan);
    const FusedGeometry g = fused_geometry(Plan::N, Plan::D, masks, images, channels, paired, is_bits(MaskKind(kind)));
    const emulated::DeviceArray<char> memory(g.bytes);
    fused_inverse<Plan>(recorder(), memory.data(), a);
  });
  if (!found) return py::none();
  std::memcpy(out.mutable_data(), device_out.data(), device_out.size());
  return out;
}

template <class T>
py::array forward_of(py::array in, const std::string& in_type, int height, int width, int channels, bool channels_last,
                     const py::object& mean, const py::object& divisor, const std::string& sum, int64_t masks,
                     int64_t images, const py::object& mask, int kind, std::pair<int, int> cell, bool paired,
                     const py::object& other, const py::dict& options) {
  emulated::Memory<T> memory(height, width, masks * images, limits_of(options));
  const Geometry& g = memory.geometry;
  ForwardArguments<T> a{};
  a.in = image_view(in.data(), number_named(in_type), channels, height, width, channels_last);
  a.mean = data_or_null<T>(mean);
  a.divisor = data_or_null<T>(divisor);
  a.channels = channels;
  a.paired = paired;
  const T scale = T(1) / (T(height) * T(width));
  a.self_weight = scale;
  a.inner_weight = 2 * scale;
  a.mask = mask_of(mask, kind, cell, height);
  a.sum = sum == "spectrum"            ? RowSum::spectrum
          : sum == "spectrum_gradient" ? RowSum::spectrum_gradient
                                       : RowSum::mask_gradient;
  if (a.sum == RowSum::mask_gradient) {
    const int64_t count = paired ? images / channels : masks;
    const int64_t planes = paired ? channels : images, shares = mask_gradient_shares(count, planes, height);
    std::vector<T> half(size_t(count * shares) * g.half * width, T(NAN));
    a.outer = count * shares;
    a.inner = a.outer_step = planes / shares;
    a.shares = shares;
    a.inner_step = 1;
    a.other = reinterpret_cast<const Complex<T>*>(data_or_null<std::complex<T>>(other));
    a.mask_gradient = half.data();
    forward(recorder(), memory.work(), a);
    const bool dense = MaskKind(kind) == MaskKind::kFull;
    py::array_t<T> out({count, int64_t(height), int64_t(dense ? width : width / 2 + 1)});
    std::memset(static_cast<void*>(out.mutable_data()), 0xff, size_t(out.nbytes()));
    finish_mask_gradient(emulated::Launch{}, g, half.data(), out.mutable_data(), count, shares, dense);
    return out;
  }
  a.outer = images;
  a.inner = paired || a.sum == RowSum::spectrum ? 1 : masks;
  a.outer_step = 1;
  a.inner_step = images;
  py::array_t<std::complex<T>> out({images, int64_t(g.half), int64_t(width)});
  std::memset(static_cast<void*>(out.mutable_data()), 0xff, size_t(out.nbytes()));
  a.spectrum = reinterpret_cast<Complex<T>*>(out.mutable_data());
  forward(recorder(), memory.work(), a);
  return out;
}

// bank [cells, elements], bits [masks, rows, bytes], the number of each cell's bit; the masks' results stand `gap`
// elements apart. Numbers of 16 bits come back as bits.
template <class T>
py::array bank_sum_of(const py::array& bank, const py::array& bits, const py::array& cells, const std::string& out_type,
                      int64_t gap, const py::dict& options) {
  const int64_t count = bank.shape(0), elements = bank.shape(1), masks = bits.shape(0);
  const emulated::DeviceArray<T> device_bank(static_cast<const T*>(bank.data()), size_t(bank.size()));
  const emulated::DeviceArray<unsigned char> device_bits(static_cast<const unsigned char*>(bits.data()),
                                                         size_t(bits.size()));
  const emulated::DeviceArray<int32_t> device_cells(static_cast<const int32_t*>(cells.data()), size_t(cells.size()));
  const Number type = number_named(out_type);
  const char* formats[] = {"f4", "f8", "u2", "u2"};
  py::array out{py::dtype(formats[int(type)]), std::vector<int64_t>{masks * (elements + gap)}};
  const emulated::DeviceArray<char> device_out(size_t(out.nbytes()));
  const BankGeometry g = bank_geometry(count, masks, limits_of(options).shared);
  const emulated::DeviceArray<char> memory(g.bytes);
  bank_sum(recorder(), g, memory.data(),
           BankArguments<T>{device_bank.data(), count, elements, elements, device_bits.data(), device_cells.data(),
                            masks, bits.shape(1) * bits.shape(2), device_out.data(), type, elements + gap});
  std::memcpy(out.mutable_data(), device_out.data(), device_out.size());
  return out;
}

py::dict counts_dict(const emulator::Counts& c) {
  py::dict d;
  d["blocks"] = c.blocks;
  d["barriers"] = c.barriers;
  d["warp_operations"] = c.warp_operations;
  d["global_read_bytes"] = c.global_read_bytes;
  d["global_written_bytes"] = c.global_written_bytes;
  d["global_read_sectors"] = c.global_read_sectors;
  d["global_read_unique_sectors"] = c.global_read_unique_sectors;
  d["global_written_sectors"] = c.global_written_sectors;
  d["shared_accesses"] = c.shared_accesses;
  d["shared_conflicts"] = c.shared_conflicts;
  d["shared_bytes"] = c.shared_bytes;
  d["shared_touched"] = c.shared_touched;
  d["conflict_sites"] = c.conflict_sites;
  return d;
}

}  // namespace

PYBIND11_MODULE(freqkit_emulator, m) {
  m.doc() = "The CUDA kernels of freqkit, run on the CPU.";

  m.def(
      "configure",
      [](const std::string& order, uint64_t seed, bool count) {
        emulator::settings.order = order == "forward"   ? emulator::Order::forward
                                   : order == "reverse" ? emulator::Order::reverse
                                                        : emulator::Order::shuffled;
        emulator::settings.seed = seed;
        emulator::settings.count = count;
        emulator::counts = {};
      },
      py::arg("order") = "forward", py::arg("seed") = 0, py::arg("count") = false);
  m.def("counts", [] { return counts_dict(emulator::counts); });
  m.def("launch_counts", [] {  // of every launch of the last operator, in order
    py::list list;
    for (const emulator::Counts& c : launches) list.append(counts_dict(c));
    return list;
  });

  m.def("inverse_f32", &inverse_of<float>);
  m.def("inverse_f64", &inverse_of<double>);
  m.def("forward_f32", &forward_of<float>);
  m.def("forward_f64", &forward_of<double>);

  m.def("fused_inverse", &fused_inverse_of);
  m.def("fused_geometry", [](int n, int folds, int64_t masks, int64_t images, int channels, bool paired, bool bits) {
    const FusedGeometry g = fused_geometry(n, folds, masks, images, channels, paired, bits);
    py::dict d;
    d["masks_per_launch"] = g.masks_per_launch;
    d["images_per_launch"] = g.images_per_launch;
    d["bytes"] = g.bytes;
    return d;
  });
  m.def("fused_plan", [](int n, size_t shared) {
    py::dict d;
    with_fused_plan(n, n, shared, [&](auto plan) {
      using Plan = decltype(plan);
      d["folds"] = Plan::D;
      d["planes"] = Plan::P;
      d["threads"] = Plan::threads;
      d["shared_bytes"] = Plan::shared_bytes;
    });
    return d;
  });

  m.def("bank_sum", [](const py::array& bank, const py::array& bits, const py::array& cells,
                       const std::string& out_type, int64_t gap, const py::dict& options) {
    return bank.itemsize() == 4 ? bank_sum_of<float>(bank, bits, cells, out_type, gap, options)
                                : bank_sum_of<double>(bank, bits, cells, out_type, gap, options);
  });
  m.def("bank_geometry", [](int64_t cells, int64_t masks, int64_t elements, int item, size_t shared) {
    const BankGeometry g = bank_geometry(cells, masks, shared);
    const int tile = item == 4 ? kBankTile<float> : kBankTile<double>;
    py::dict d;
    d["words_per_mask"] = g.words_per_mask;
    d["masks_per_launch"] = g.masks_per_launch;
    d["bytes"] = g.bytes;
    d["shared_bytes"] = g.shared_bytes;
    d["blocks"] = bank_shape(g, tile, elements, g.masks_per_launch).blocks;
    d["tile"] = tile;
    d["masks_per_block"] = kBankMaskBlock;
    return d;
  });

  m.def("geometry",
        [](int64_t height, int64_t width, int64_t planes, int complex_bytes, size_t shared, int64_t scratch) {
          const Geometry g = make_geometry(height, width, planes, complex_bytes, shared, scratch);
          py::dict d;
          d["chunk"] = g.chunk;
          d["bytes"] = g.bytes;
          d["half"] = g.half;
          for (const bool rows : {true, false}) {
            const Line& line = rows ? g.rows : g.columns;
            const int64_t transforms = rows ? g.chunk * g.half : g.chunk * g.pairs;
            const Shape shape = line_shape(line, (transforms + line.lanes() - 1) / line.lanes(), complex_bytes);
            py::dict l;
            l["radix"] = std::vector<int>(line.radix, line.radix + line.passes);
            l["lanes"] = line.lanes();
            l["wide"] = line.wide;
            l["blocks"] = shape.blocks;
            l["threads"] = shape.threads;
            l["shared_bytes"] = shape.shared_bytes;
            d[rows ? "rows" : "columns"] = l;
          }
          return d;
        });
  m.def("mask_gradient_shares", &mask_gradient_shares);
  m.def("plane_map", [](int64_t first, int64_t outer, int64_t inner, int64_t outer_step, int64_t inner_step,
                        int64_t s) { return PlaneMap{first, outer, inner, outer_step, inner_step}(s); });
  m.def("round_to", [](const std::string& type, float value) {
    return type == "float16" ? narrow<Half>(value).bits : narrow<BFloat16>(value).bits;
  });
  m.def("widen_from", [](const std::string& type, uint16_t bits) {
    return type == "float16" ? widen(Half{bits}) : widen(BFloat16{bits});
  });

  m.def("block_sum",
        [](std::vector<float> values, int fault) { return emulated::block_sum(values, self_test::Fault(fault)); });
  m.def("count_strided", [](int stride) {
    const emulated::DeviceArray<float> in(std::vector<float>(size_t(32 * stride), 1.0f).data(), size_t(32 * stride)),
        out(32);
    int votes = 0;
    emulator::launch({1}, {32}, size_t(32 * stride) * 4,
                     [&] { self_test::counting_kernel(in.data(), out.data(), stride, &votes); });
    return votes;
  });
}

// All use of torch's stable ABI beyond Tensor, in one place.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>
#endif

#include <algorithm>
#include <atomic>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "launch.h"
#include "numbers.h"

namespace freqkit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws unless it holds: a ValueError in Python, whose text is this one sentence. (STD_TORCH_CHECK is for what no
// caller can cause: it makes a RuntimeError that names the place in the source.)
template <class... Parts>
void require(bool holds, const Parts&... sentence) {
  if (holds) return;
  std::ostringstream text;
  (text << ... << sentence);
  throw std::invalid_argument(text.str());
}

// An uninitialised tensor on the device of `like`.
inline Tensor empty_on(const Tensor& like, const std::vector<int64_t>& size, ScalarType dtype) {
  return torch::stable::new_empty(like, size, dtype);
}
inline Tensor zeros_on(const Tensor& like, const std::vector<int64_t>& size, ScalarType dtype) {
  return torch::stable::new_zeros(like, size, dtype);
}

// torch's own asks the dispatcher, which takes 0.4 us, also where there is nothing to do.
inline Tensor contiguous_of(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// A view of [..., H, W, C] as [..., C, H, W].
inline Tensor channels_first(const Tensor& tensor) {
  return torch::stable::transpose(torch::stable::transpose(tensor, -1, -2), -2, -3);
}

// body(begin, end) for [0, count) in runs of `grain`, each taken by whichever of torch's threads is free: a thread that
// wakes up late or is put aside costs one run, not its share.
template <class F>
void share(int64_t count, int64_t grain, const F& body) {
  const int64_t runs = (count + grain - 1) / grain, threads = torch::stable::get_num_threads();
  if (runs <= 1 || threads <= 1) {
    if (count > 0) body(int64_t(0), count);
    return;
  }
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, std::min(runs, threads), 1, [&](int64_t, int64_t) {
    for (int64_t run = next++; run < runs; run = next++) body(run * grain, std::min(count, (run + 1) * grain));
  });
}

// body(float{}) or body(double{}).
template <class F>
auto dispatch_real(const char* name, ScalarType dtype, F&& body) {
  require(dtype == ScalarType::Float || dtype == ScalarType::Double, name, ": expected a float32 or float64 tensor.");
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

inline Number number_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Number::f32;
    case ScalarType::Double: return Number::f64;
    case ScalarType::Half: return Number::f16;
    case ScalarType::BFloat16: return Number::bf16;
    default: require(false, "freqkit: expected a float32, float64, bfloat16 or float16 tensor.");
  }
  return Number::f32;
}

}  // namespace freqkit

#if defined(__CUDACC__)
namespace freqkit::device {

inline void check(cudaError_t error, const char* what) {
  STD_TORCH_CHECK(error == cudaSuccess, "freqkit: ", what, " failed: ", cudaGetErrorString(error));
}

// torch's current stream. The stable headers give its native handle from torch 2.13 on; the function behind it is as
// old as the stable ABI, but lies in libtorch_cuda, which a torch without CUDA lacks: so it is looked up, not linked.
inline cudaStream_t current_stream(int32_t device) {
  using Getter = int32_t (*)(int32_t, void**);
  static const Getter getter = [] {
    void* const library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return library ? reinterpret_cast<Getter>(dlsym(library, "aoti_torch_get_current_cuda_stream")) : nullptr;
  }();
  void* stream = nullptr;
  STD_TORCH_CHECK(getter != nullptr && getter(device, &stream) == 0, "freqkit: torch gave no CUDA stream");
  return static_cast<cudaStream_t>(stream);
}

// The device and stream of a call, for torch's runtime and for the one linked into this library.
class Stream {
 public:
  explicit Stream(const Tensor& on) : guard_(on.get_device_index()), stream_(current_stream(on.get_device_index())) {
    check(cudaSetDevice(on.get_device_index()), "cudaSetDevice");
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, on.get_device_index()),
          "cudaDeviceGetAttribute");
    shared_limit_ = size_t(bytes);
  }
  size_t shared_limit() const { return shared_limit_; }

  template <class Params>
  void operator()(void (*kernel)(Params), const Shape& shape, const Params& params) const {
    if (shape.shared_bytes > 48 * 1024)
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared_bytes)),
            "cudaFuncSetAttribute");
    kernel<<<shape.blocks, shape.threads, shape.shared_bytes, stream_>>>(params);
    check(cudaGetLastError(), "a kernel launch");
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
  size_t shared_limit_ = 0;
};

}  // namespace freqkit::device
#endif

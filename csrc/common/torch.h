// All use of torch's stable ABI beyond Tensor, in one place.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <string>
#include <vector>

#include "numbers.h"

namespace freqkit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An uninitialised tensor on the device of `like`.
inline Tensor empty_on(const Tensor& like, const std::vector<int64_t>& size, ScalarType dtype) {
  return torch::stable::new_empty(like, size, dtype);
}
inline Tensor zeros_on(const Tensor& like, const std::vector<int64_t>& size, ScalarType dtype) {
  return torch::stable::new_zeros(like, size, dtype);
}

// body(float{}) or body(double{}).
template <class F>
auto dispatch_real(const char* name, ScalarType dtype, F&& body) {
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, name,
                  ": expected a float32 or float64 tensor");
  return dtype == ScalarType::Float ? body(float{}) : body(double{});
}

inline Number number_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Number::f32;
    case ScalarType::Double: return Number::f64;
    case ScalarType::Half: return Number::f16;
    case ScalarType::BFloat16: return Number::bf16;
    default: STD_TORCH_CHECK(false, "freqkit: expected a float32, float64, bfloat16 or float16 tensor");
  }
  return Number::f32;
}

}  // namespace freqkit

// Every operator's schema and what was built; nothing else.
#include <sstream>

#include "common/torch.h"
#include "spectral_filter/spectral_filter.h"

namespace freqkit {

const CpuKernels<float>& kernels_in_use(float);
const CpuKernels<double>& kernels_in_use(double);

int64_t lanes(bool is_double) { return is_double ? kernels_in_use(double{}).lanes : kernels_in_use(float{}).lanes; }

std::string build_info() {
  std::ostringstream json;
  json << "{\"simd\": \"" << kernels_in_use(float{}).name << "\", \"simd_built\": [\"baseline\"";
#ifdef FREQKIT_HAS_X86
  json << ", \"avx2\", \"avx512\"";
#endif
  json << "], \"lanes\": {\"float32\": " << kernels_in_use(float{}).lanes
       << ", \"float64\": " << kernels_in_use(double{}).lanes << "}, \"cuda\": ";
#ifdef FREQKIT_HAS_CUDA
  json << "true, \"cuda_archs\": \"" FREQKIT_CUDA_ARCHS "\", \"cuda_version\": \"" FREQKIT_CUDA_VERSION "\"";
#else
  json << "false, \"cuda_archs\": \"\", \"cuda_version\": null";
#endif
  json << ", \"compiler\": \"" FREQKIT_COMPILER "\", \"torch_target\": \"2.10\", \"version\": \"" FREQKIT_VERSION "\"}";
  return json.str();
}

}  // namespace freqkit

STABLE_TORCH_LIBRARY(freqkit, m) {
  m.def("lanes(bool is_double) -> int");
  m.def("build_info() -> str");
  // x [B,C,H,W] -> packed [B,C,M], the spectrum of (x - mean)/std; and its transpose as a real-linear map.
  m.def("spectrum(Tensor x, Tensor? mean, Tensor? std) -> Tensor");
  m.def("spectrum_backward(Tensor grad, int height, int width, Tensor? std) -> Tensor");
  // mask kinds: 0 [K,H,W], 1 [K,H,W//2+1], 2 and 3 bits (average, hermitian) on cells of the given size.
  m.def(
      "spectral_filter(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool paired, "
      "ScalarType dtype, bool channels_last) -> Tensor");
  m.def(
      "spectral_filter_out(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool paired, "
      "bool channels_last, Tensor(a!) out) -> ()");
  m.def(
      "spectral_filter_backward_spectrum(Tensor grad, int height, int width, Tensor mask, int kind, int[] cell, "
      "bool paired, ScalarType dtype) -> Tensor");
  m.def(
      "spectral_filter_backward_mask(Tensor grad, Tensor packed, int height, int width, int kind, bool paired) "
      "-> Tensor");
  // spectral_filter by a bank of band images; its body is in freqkit/ops/band_bank.py. bank [P,b,C,H,W], bits
  // [K,rows,bytes] of which `cells` names P, out [K,b,C,H,W].
  m.def(
      "band_bank(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, ScalarType dtype, "
      "bool channels_last) -> Tensor");
  m.def(
      "band_bank_out(Tensor packed, int height, int width, Tensor mask, int kind, int[] cell, bool channels_last, "
      "Tensor(a!) out) -> ()");
  m.def("band_bank_sum_out(Tensor bank, Tensor mask, Tensor cells, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(freqkit, CompositeExplicitAutograd, m) {
  m.impl("lanes", TORCH_BOX(&freqkit::lanes));
  m.impl("build_info", TORCH_BOX(&freqkit::build_info));
}

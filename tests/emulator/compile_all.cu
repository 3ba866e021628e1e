// Every kernel instantiated and launched, without torch: what the compile test hands to nvcc.
#include "../../csrc/band_bank/band_bank.cuh"
#include "../../csrc/spectral_filter/spectral_filter.cuh"

using namespace freqkit;
using namespace freqkit::device;

struct Launch {
  template <class Params>
  void operator()(void (*kernel)(Params), const Shape& shape, const Params& params) const {
    kernel<<<shape.blocks, shape.threads, shape.shared_bytes>>>(params);
  }
};

template <class T>
void all(const Work<T>& work, const InverseArguments<T>& i, const ForwardArguments<T>& f, T* out) {
  const Launch launch;
  inverse(launch, work, i);
  forward(launch, work, f);
  finish_mask_gradient<T>(launch, work.geometry, out, out, 1, 1, true);
}
void all_fused(char* memory, const InverseArguments<float>& i, int size, size_t shared) {
  with_fused_plan(size, size, shared, [&](auto plan) { fused_inverse<decltype(plan)>(Launch{}, memory, i); });
}
template void all(const Work<float>&, const InverseArguments<float>&, const ForwardArguments<float>&, float*);
template void all(const Work<double>&, const InverseArguments<double>&, const ForwardArguments<double>&, double*);
template <class T>
void all_banks(const BankGeometry& geometry, void* memory, const BankArguments<T>& a) {
  bank_sum(Launch{}, geometry, memory, a);
}
template void all_banks(const BankGeometry&, void*, const BankArguments<float>&);
template void all_banks(const BankGeometry&, void*, const BankArguments<double>&);

// The operator's launches, run by the emulator on plain arrays.
#pragma once

#include <cstdlib>

#include "../../csrc/band_bank/band_bank.cuh"
#include "../../csrc/spectral_filter/spectral_filter.cuh"
#include "self_test.cuh"

namespace freqkit::emulated {

using namespace device;

struct Launch {
  template <class Params>
  void operator()(void (*kernel)(Params), const Shape& shape, const Params& params) const {
    if (counts_of != nullptr) emulator::counts = {};
    emulator::launch({shape.blocks}, {shape.threads}, shape.shared_bytes, [&] { kernel(params); });
    if (counts_of != nullptr) counts_of->push_back(emulator::counts);
  }
  std::vector<emulator::Counts>* counts_of = nullptr;  // the counts of each launch, when wanted
};

// Aligned as device allocations are, so that 32-byte sectors are counted as a device would.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count)
      : count_(count), memory_(static_cast<T*>(std::aligned_alloc(256, (count * sizeof(T) + 256) / 256 * 256))) {
    std::memset(static_cast<void*>(memory_), 0xff, count * sizeof(T));
  }
  DeviceArray(const T* from, size_t count) : DeviceArray(count) {
    if (count > 0) std::memcpy(static_cast<void*>(memory_), from, count * sizeof(T));
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { std::free(memory_); }
  T* data() const { return memory_; }
  size_t size() const { return count_; }

 private:
  size_t count_;
  T* memory_;
};

struct Limits {
  size_t shared = 99 * 1024;
  int64_t scratch = kScratchBytes;
};

template <class T>
struct Memory {
  Geometry geometry;
  DeviceArray<char> bytes;
  Memory(int64_t height, int64_t width, int64_t planes, const Limits& limits)
      : geometry(make_geometry(height, width, planes, sizeof(Complex<T>), limits.shared, limits.scratch)),
        bytes(geometry.bytes) {}
  Work<T> work() { return {geometry, bytes.data()}; }
};

inline float block_sum(const std::vector<float>& values, self_test::Fault fault) {
  const unsigned threads = 128, blocks = unsigned((values.size() + threads - 1) / threads);
  std::vector<float> out(blocks);
  emulator::launch({blocks}, {threads}, threads * sizeof(float),
                   [&] { self_test::block_sum_kernel(values.data(), out.data(), int(values.size()), fault); });
  float sum = 0;
  for (float part : out) sum += part;
  return sum;
}

}  // namespace freqkit::emulated

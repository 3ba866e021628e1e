// What a launch needs; shared by the stems' kernels, their operators and the emulator. Plain host code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace freqkit::device {

constexpr int kThreads = 256;            // of a block, unless a kernel says otherwise
constexpr int64_t kMaxBlocks = 1 << 20;  // blocks loop over the rest

// Blocks and threads are one-dimensional.
struct Shape {
  unsigned blocks = 0, threads = kThreads;
  size_t shared_bytes = 0;
};

// One thread per element, up to kMaxBlocks.
inline Shape flat_shape(int64_t elements) {
  Shape shape;
  shape.blocks = unsigned(std::clamp<int64_t>((elements + kThreads - 1) / kThreads, 1, kMaxBlocks));
  return shape;
}

}  // namespace freqkit::device

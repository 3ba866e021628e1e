// Memory at the start of a cache line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>

namespace freqkit {

template <class S>
struct Aligned {
  explicit Aligned(int64_t count)
      : data(static_cast<S*>(::operator new(sizeof(S) * std::max<int64_t>(count, 1), kAlign))) {}
  ~Aligned() { ::operator delete(data, kAlign); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  static constexpr std::align_val_t kAlign{64};
  S* data;
};

}  // namespace freqkit

// What a kernel sees when g++ compiles it: CUDA's words, run by fibers on the CPU (shim.cpp).
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace freqkit::emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// The CUDA thread that is running. One OS thread runs everything.
struct Thread {
  Dim3 thread{0, 0, 0}, block{0, 0, 0};
  unsigned index = 0;  // within the block, x fastest
};
extern Thread* current;
extern Dim3 grid_size, block_size;

enum class Order { forward, reverse, shuffled };

// What a launch touched, when counting is on.
struct Counts {
  int64_t blocks = 0, barriers = 0, warp_operations = 0;
  int64_t global_read_bytes = 0, global_written_bytes = 0;      // as the lanes asked
  int64_t global_read_sectors = 0, global_written_sectors = 0;  // 32 bytes each, per warp access
  int64_t global_read_unique_sectors = 0;  // each once per block: what an ideal L1 cache would ask of the L2
  int64_t shared_accesses = 0;             // per warp access: wavefronts an ideal layout needs
  int64_t shared_conflicts = 0;            // wavefronts beyond these
  int64_t shared_bytes = 0;                // largest dynamic allocation of a block
  int64_t shared_touched = 0;              // largest end of an address really used
  std::vector<std::string> conflict_sites;
};

struct Settings {
  Order order = Order::forward;
  uint64_t seed = 0;  // of the shuffled order
  bool count = false;
  bool threads_race = true;  // sanitizer builds: CUDA threads are threads to ThreadSanitizer
};
extern Settings settings;
extern Counts counts;

// Runs body once per thread of every block; throws std::runtime_error on divergence or deadlock.
void launch(Dim3 grid, Dim3 block, size_t shared_bytes, const std::function<void()>& body);

void* shared_memory();
void barrier(int line);
void warp_barrier(unsigned mask, int line);
// Every lane of mask posts a word and then sees the words of all lanes.
const uint64_t* warp_exchange(unsigned mask, uint64_t word, const char* what, int line);
unsigned lane();

enum class Access { global_read, global_write, shared_read, shared_write };
void record(Access kind, const void* address, size_t bytes, bool active, const std::source_location& site);

template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, int line) {
  static_assert(sizeof(T) <= 8);
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  const uint64_t* words = warp_exchange(mask, word, what, line);
  T result;
  std::memcpy(&result, &words[source & 31], sizeof(T));
  return result;
}
// The lane read by up, down and xor within groups of `width`; a lane out of range reads itself.
int lane_up(unsigned delta, int width);
int lane_down(unsigned delta, int width);
int lane_xor(int lanes, int width);
int lane_of(int source, int width);
unsigned ballot(unsigned mask, bool vote, int line);

}  // namespace freqkit::emulator

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (freqkit::emulator::current->thread)
#define blockIdx (freqkit::emulator::current->block)
#define blockDim (freqkit::emulator::block_size)
#define gridDim (freqkit::emulator::grid_size)
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(freqkit::emulator::shared_memory())

#define __syncthreads() freqkit::emulator::barrier(__LINE__)
#define FREQKIT_FIRST(a, ...) a
#define __syncwarp(...) freqkit::emulator::warp_barrier(FREQKIT_FIRST(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), __LINE__)
#define FREQKIT_WIDTH(...) FREQKIT_FIRST(__VA_ARGS__ __VA_OPT__(, ) 32)
#define __shfl_sync(mask, value, source, ...)                                                             \
  freqkit::emulator::shuffle(mask, value, freqkit::emulator::lane_of(source, FREQKIT_WIDTH(__VA_ARGS__)), \
                             "__shfl_sync", __LINE__)
#define __shfl_up_sync(mask, value, delta, ...)                                                          \
  freqkit::emulator::shuffle(mask, value, freqkit::emulator::lane_up(delta, FREQKIT_WIDTH(__VA_ARGS__)), \
                             "__shfl_up_sync", __LINE__)
#define __shfl_down_sync(mask, value, delta, ...)                                                          \
  freqkit::emulator::shuffle(mask, value, freqkit::emulator::lane_down(delta, FREQKIT_WIDTH(__VA_ARGS__)), \
                             "__shfl_down_sync", __LINE__)
#define __shfl_xor_sync(mask, value, lanes, ...)                                                          \
  freqkit::emulator::shuffle(mask, value, freqkit::emulator::lane_xor(lanes, FREQKIT_WIDTH(__VA_ARGS__)), \
                             "__shfl_xor_sync", __LINE__)
#define __ballot_sync(mask, vote) freqkit::emulator::ballot(mask, vote, __LINE__)

template <class T>
T atomicAdd(T* address, T value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}

inline unsigned __brev(unsigned word) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (word >> bit & 1u) << (31 - bit);
  return reversed;
}

inline void sincospi(double x, double* s, double* c) {
  *s = std::sin(3.14159265358979323846 * x);
  *c = std::cos(3.14159265358979323846 * x);
}

namespace freqkit {

// The accessors of csrc/common/dialect.h. The site of a call names the instruction: its n-th execution by the
// lanes of a warp counts as one access, so a call must be reached equally often by all lanes (give a
// predicate, do not branch).
using Site = std::source_location;

template <class T>
inline T load_const_if(bool wanted, const T* address, Site site = Site::current()) {
  if (emulator::settings.count) emulator::record(emulator::Access::global_read, address, sizeof(T), wanted, site);
  T value{};
  if (wanted) value = *address;
  return value;
}
template <class T>
inline T load_const_if_bit(unsigned word, int bit, const T* address, Site site = Site::current()) {
  return load_const_if((word >> bit & 1u) != 0, address, site);
}
template <class T>
inline T load_const(const T* address, Site site = Site::current()) {
  return load_const_if(true, address, site);
}
template <class T>
inline T load_global(const T* address, Site site = Site::current()) {
  return load_const_if(true, address, site);
}
template <class T>
inline void store_global(T* address, const T& value, Site site = Site::current()) {
  if (emulator::settings.count) emulator::record(emulator::Access::global_write, address, sizeof(T), true, site);
  *address = value;
}
template <class T>
inline void store_streaming(T* address, const T& value, Site site = Site::current()) {
  store_global(address, value, site);
}
template <class T>
inline T load_shared(const T* address, Site site = Site::current()) {
  if (emulator::settings.count) emulator::record(emulator::Access::shared_read, address, sizeof(T), true, site);
  return *address;
}
template <class T>
inline void store_shared(T* address, const T& value, Site site = Site::current()) {
  if (emulator::settings.count) emulator::record(emulator::Access::shared_write, address, sizeof(T), true, site);
  *address = value;
}

template <bool SHARED, class T>
inline T load_buffer(const T* address, Site site = Site::current()) {
  return SHARED ? load_shared(address, site) : load_global(address, site);
}
template <bool SHARED, class T>
inline void store_buffer(T* address, const T& value, Site site = Site::current()) {
  SHARED ? store_shared(address, value, site) : store_global(address, value, site);
}

}  // namespace freqkit

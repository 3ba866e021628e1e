// Runs one CUDA block at a time, a fiber per thread, on one OS thread.
//
// This file is compiled without instrumentation also in the sanitizer programs: to ThreadSanitizer the fibers
// are threads that synchronise nowhere but at barriers and warp operations, so a race between CUDA threads is
// a race to it.
#include "shim.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <tuple>

#if defined(FREQKIT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(FREQKIT_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace freqkit::emulator {

Thread* current = nullptr;
Dim3 grid_size, block_size;
Settings settings;
Counts counts;

namespace {

constexpr size_t kStack = 256 * 1024;
enum class State { runnable, at_barrier, at_warp, finished };

struct Fiber : Thread {
  ucontext_t context{};
  char* stack = nullptr;
  State state = State::finished;
  const char* what = "";
  int line = 0;
  unsigned mask = 0;
  uint64_t word = 0;
  uint64_t seen[32] = {};
  void* fake_stack = nullptr;
  void* tsan = nullptr;
};

struct Block {
  Fiber* fibers = nullptr;
  unsigned threads = 0, live = 0, waiting = 0;
  unsigned generation = 0;
  char barrier_sync[2] = {};  // addresses ThreadSanitizer's release and acquire meet at
  char launch_sync = 0;
  char* warp_sync = nullptr;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  const std::function<void()>* body = nullptr;
  std::string* error = nullptr;
  std::exception_ptr thrown;
} block;

ucontext_t scheduler;
#if defined(FREQKIT_ASAN)
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_size = 0;
#endif
#if defined(FREQKIT_TSAN)
void* scheduler_tsan = nullptr;
#endif
std::vector<std::unique_ptr<Fiber[]>> pools;
unsigned pool_size = 0;

void release(void* address) {
#if defined(FREQKIT_TSAN)
  __tsan_release(address);
#else
  (void)address;
#endif
}
void acquire(void* address) {
#if defined(FREQKIT_TSAN)
  __tsan_acquire(address);
#else
  (void)address;
#endif
}

Fiber* self() { return static_cast<Fiber*>(current); }

void enter(Fiber* fiber) {
  current = fiber;
#if defined(FREQKIT_ASAN)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber->stack, kStack);
#endif
#if defined(FREQKIT_TSAN)
  __tsan_switch_to_fiber(fiber->tsan, __tsan_switch_to_fiber_no_sync);
#endif
  swapcontext(&scheduler, &fiber->context);
#if defined(FREQKIT_ASAN)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

void leave(Fiber* fiber) {
#if defined(FREQKIT_ASAN)
  __sanitizer_start_switch_fiber(&fiber->fake_stack, scheduler_stack, scheduler_stack_size);
#endif
#if defined(FREQKIT_TSAN)
  __tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);
#endif
  swapcontext(&fiber->context, &scheduler);
#if defined(FREQKIT_ASAN)
  __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack, &scheduler_stack_size);
#endif
}

// Ends the launch: the fibers stay where they are and are thrown away by the scheduler.
void fail(const std::string& text) {
  if (block.error == nullptr) block.error = new std::string(text);
  leave(self());
  std::abort();
}

std::string where() {
  std::map<std::pair<std::string, int>, int> places;
  int finished = 0;
  for (unsigned t = 0; t < block.threads; ++t) {
    const Fiber& fiber = block.fibers[t];
    if (fiber.state == State::finished)
      ++finished;
    else if (fiber.state != State::runnable)
      ++places[{fiber.what, fiber.line}];
  }
  std::string text;
  for (const auto& [place, count] : places)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " threads wait at " + place.first + " (line " +
            std::to_string(place.second) + ")";
  return text + ", " + std::to_string(finished) + " have returned";
}

void flush_counts();
std::set<uintptr_t> block_sectors;  // read by the block so far

// Called when the last live thread has arrived.
bool open_barrier() {
  int low = 0, high = 0;
  bool first = true;
  for (unsigned t = 0; t < block.threads; ++t) {
    Fiber& fiber = block.fibers[t];
    if (fiber.state != State::at_barrier) continue;
    low = first ? fiber.line : std::min(low, fiber.line);
    high = first ? fiber.line : std::max(high, fiber.line);
    first = false;
  }
  if (low != high) {
    if (block.error == nullptr)
      block.error =
          new std::string("divergent __syncthreads at lines " + std::to_string(low) + " and " + std::to_string(high));
    return false;
  }
  for (unsigned t = 0; t < block.threads; ++t)
    if (block.fibers[t].state == State::at_barrier) block.fibers[t].state = State::runnable;
  block.waiting = 0;
  ++block.generation;
  ++counts.barriers;
  if (settings.count) flush_counts();
  return true;
}

void fiber_main() {
#if defined(FREQKIT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
#endif
  for (;;) {
    Fiber* fiber = self();
    acquire(&block.launch_sync);
    try {
      (*block.body)();
    } catch (...) {
      if (!block.thrown) block.thrown = std::current_exception();
    }
    release(&block.launch_sync);
    fiber->state = State::finished;
    --block.live;
    if (block.live > 0 && block.waiting == block.live) open_barrier();
    leave(fiber);
  }
}

void make_fibers(unsigned threads) {
  if (pool_size >= threads) return;
  auto fibers = std::make_unique<Fiber[]>(threads);
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  for (unsigned t = 0; t < threads; ++t) {
    Fiber& fiber = fibers[t];
    char* memory = static_cast<char*>(
        mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory == MAP_FAILED) throw std::runtime_error("emulator: no memory for the stacks of a block");
    mprotect(memory, page, PROT_NONE);
    fiber.stack = memory + page;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
#if defined(FREQKIT_TSAN)
    fiber.tsan = __tsan_create_fiber(0);
#endif
  }
  block.fibers = fibers.get();
  pool_size = threads;
  pools.push_back(std::move(fibers));
}

// After an error the fibers stand in the middle of a kernel: new ones are made for the next launch.
[[noreturn]] void give_up() {
  const std::unique_ptr<std::string> text(block.error);
  block.error = nullptr;
  pool_size = 0;
  std::free(block.shared);
  block.shared = nullptr;
  current = nullptr;
  if (settings.count) flush_counts();
  throw std::runtime_error(*text);
}

void run_block(Dim3 index, std::mt19937_64& random) {
  block.live = block.threads;
  block.waiting = 0;
  block.thrown = nullptr;
  block.shared = static_cast<unsigned char*>(std::malloc(std::max<size_t>(block.shared_bytes, 1)));
  std::memset(block.shared, 0xFF, block.shared_bytes);
  for (unsigned t = 0; t < block.threads; ++t) {
    Fiber& fiber = block.fibers[t];
    fiber.index = t;
    fiber.thread = {t % block_size.x, t / block_size.x % block_size.y, t / block_size.x / block_size.y};
    fiber.block = index;
    fiber.state = State::runnable;
  }
  release(&block.launch_sync);
  std::vector<unsigned> order(block.threads);
  std::iota(order.begin(), order.end(), 0u);
  if (settings.order == Order::reverse) std::reverse(order.begin(), order.end());
  while (block.live > 0) {
    bool progress = false;
    if (settings.order == Order::shuffled) std::shuffle(order.begin(), order.end(), random);
    for (unsigned t : order) {
      if (block.fibers[t].state != State::runnable) continue;
      progress = true;
      enter(&block.fibers[t]);
      if (block.error != nullptr) give_up();
    }
    if (!progress) {
      block.error = new std::string("deadlock: " + where());
      give_up();
    }
  }
  acquire(&block.launch_sync);
  if (settings.count) {
    flush_counts();
    counts.global_read_unique_sectors += int64_t(block_sectors.size());
    block_sectors.clear();
  }
  current = nullptr;
  std::free(block.shared);
  block.shared = nullptr;
  if (block.thrown) std::rethrow_exception(block.thrown);
}

// ---- counting
// -------------------------------------------------------------------------------------------------------

struct Lane {
  unsigned lane;
  uintptr_t address;
  uint32_t bytes;
};
struct Key {
  unsigned warp;
  const char* file;
  unsigned line, column, ordinal;
  Access kind;
  auto operator<=>(const Key&) const = default;
};
std::map<Key, std::vector<Lane>> open_accesses;
std::vector<std::map<std::tuple<const char*, unsigned, unsigned>, unsigned>> ordinals;

void count_shared(const Key& key, const std::vector<Lane>& lanes) {
  // 32 banks of 4 bytes; wider accesses are served in groups of lanes that ask for 128 bytes together.
  const uint32_t bytes = lanes[0].bytes;
  const unsigned group_lanes = bytes <= 4 ? 32 : 128 / bytes;
  int64_t ideal = 0, needed = 0;
  for (unsigned first = 0; first < 32; first += group_lanes) {
    std::set<uintptr_t> words;
    for (const Lane& lane : lanes)
      if (lane.lane >= first && lane.lane < first + group_lanes)
        for (uintptr_t w = lane.address / 4; w <= (lane.address + lane.bytes - 1) / 4; ++w) words.insert(w);
    if (words.empty()) continue;
    int per_bank[32] = {};
    int worst = 0;
    for (uintptr_t w : words) worst = std::max(worst, ++per_bank[w % 32]);
    ++ideal;
    needed += worst;
  }
  counts.shared_accesses += ideal;
  if (needed > ideal) {
    counts.shared_conflicts += needed - ideal;
    const std::string file = key.file;
    const std::string site = file.substr(file.rfind('/') + 1) + ":" + std::to_string(key.line);
    if (std::find(counts.conflict_sites.begin(), counts.conflict_sites.end(), site) == counts.conflict_sites.end())
      counts.conflict_sites.push_back(site);
  }
}

void flush_counts() {
  for (const auto& [key, lanes] : open_accesses) {
    if (lanes.empty()) continue;
    if (key.kind == Access::shared_read || key.kind == Access::shared_write) {
      count_shared(key, lanes);
      continue;
    }
    std::set<uintptr_t> sectors;
    int64_t bytes = 0;
    for (const Lane& lane : lanes) {
      bytes += lane.bytes;
      for (uintptr_t s = lane.address / 32; s <= (lane.address + lane.bytes - 1) / 32; ++s) sectors.insert(s);
    }
    const bool read = key.kind == Access::global_read;
    if (read) block_sectors.insert(sectors.begin(), sectors.end());
    (read ? counts.global_read_bytes : counts.global_written_bytes) += bytes;
    (read ? counts.global_read_sectors : counts.global_written_sectors) += int64_t(sectors.size());
  }
  open_accesses.clear();
  for (auto& sites : ordinals) sites.clear();
}

}  // namespace

void record(Access kind, const void* address, size_t bytes, bool active, const std::source_location& site) {
  unsigned ordinal = ordinals[current->index][{site.file_name(), site.line(), site.column()}]++;
  if (!active) return;
  uintptr_t where = reinterpret_cast<uintptr_t>(address);
  if (kind == Access::shared_read || kind == Access::shared_write) {
    where -= reinterpret_cast<uintptr_t>(block.shared);
    counts.shared_touched = std::max<int64_t>(counts.shared_touched, int64_t(where + bytes));
  }
  const Key key{current->index / 32, site.file_name(), site.line(), site.column(), ordinal, kind};
  open_accesses[key].push_back({current->index % 32, where, uint32_t(bytes)});
}

void launch(Dim3 grid, Dim3 size, size_t shared_bytes, const std::function<void()>& body) {
  if (current != nullptr) throw std::runtime_error("emulator: a kernel cannot launch another");
  const uint64_t threads = uint64_t(size.x) * size.y * size.z;
  if (threads == 0 || threads > 1024)
    throw std::runtime_error("emulator: a block must have 1 to 1024 threads, not " + std::to_string(threads));
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (blocks == 0) throw std::runtime_error("emulator: a grid must have at least one block");
  make_fibers(unsigned(threads));
#if defined(FREQKIT_TSAN)
  scheduler_tsan = __tsan_get_current_fiber();
#endif
  std::vector<char> warp_sync((threads + 31) / 32);
  block.warp_sync = warp_sync.data();
  block.fibers = pools.back().get();
  block.threads = unsigned(threads);
  block.shared_bytes = shared_bytes;
  block.body = &body;
  grid_size = grid;
  block_size = size;
  ordinals.assign(threads, {});
  counts.shared_bytes = std::max<int64_t>(counts.shared_bytes, int64_t(shared_bytes));
  std::mt19937_64 random(settings.seed);
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  if (settings.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (settings.order == Order::shuffled) std::shuffle(order.begin(), order.end(), random);
  for (uint64_t b : order) {
    ++counts.blocks;
    run_block({unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)}, random);
  }
}

void* shared_memory() { return block.shared; }
unsigned lane() { return current->index % 32; }

void barrier(int line) {
  Fiber* fiber = self();
  fiber->state = State::at_barrier;
  fiber->what = "__syncthreads";
  fiber->line = line;
  char* const sync = &block.barrier_sync[block.generation & 1];
  release(sync);
  if (++block.waiting == block.live && !open_barrier()) fail("");
  leave(fiber);
  acquire(sync);
}

const uint64_t* warp_exchange(unsigned mask, uint64_t word, const char* what, int line) {
  Fiber* fiber = self();
  const unsigned first = fiber->index / 32 * 32;
  if ((mask >> (fiber->index % 32) & 1) == 0)
    fail(std::string(what) + " at line " + std::to_string(line) + ": lane " + std::to_string(fiber->index % 32) +
         " is not in its own mask");
  fiber->state = State::at_warp;
  fiber->what = what;
  fiber->line = line;
  fiber->mask = mask;
  fiber->word = word;
  char* const sync = &block.warp_sync[first / 32];
  release(sync);
  bool complete = true;
  for (unsigned l = 0; l < 32; ++l) {
    if ((mask >> l & 1) == 0) continue;
    if (first + l >= block.threads) {
      complete = false;
      continue;
    }
    const Fiber& other = block.fibers[first + l];
    if (other.state == State::at_warp && (other.mask != mask || other.line != line))
      fail("divergent warp operations: " + std::string(what) + " at line " + std::to_string(line) + " and " +
           other.what + " at line " + std::to_string(other.line));
    complete &= other.state == State::at_warp;
  }
  if (complete) {
    ++counts.warp_operations;
    for (unsigned l = 0; l < 32; ++l) {
      if ((mask >> l & 1) == 0) continue;
      Fiber& other = block.fibers[first + l];
      for (unsigned s = 0; s < 32; ++s) other.seen[s] = (mask >> s & 1) ? block.fibers[first + s].word : 0;
      other.state = State::runnable;
    }
  }
  leave(fiber);
  acquire(sync);
  return fiber->seen;
}

void warp_barrier(unsigned mask, int line) { warp_exchange(mask, 0, "__syncwarp", line); }

unsigned ballot(unsigned mask, bool vote, int line) {
  const uint64_t* votes = warp_exchange(mask, vote, "__ballot_sync", line);
  unsigned result = 0;
  for (unsigned l = 0; l < 32; ++l) result |= unsigned(votes[l] != 0) << l;
  return result;
}

int lane_of(int source, int width) {
  const int l = int(lane());
  return l / width * width + (source & (width - 1));
}
int lane_up(unsigned delta, int width) {
  const int l = int(lane());
  return l % width >= int(delta) ? l - int(delta) : l;
}
int lane_down(unsigned delta, int width) {
  const int l = int(lane());
  return l % width + int(delta) < width ? l + int(delta) : l;
}
int lane_xor(int lanes, int width) {
  const int l = int(lane()), other = l ^ lanes;
  return other / width <= l / width ? other : l;
}

}  // namespace freqkit::emulator

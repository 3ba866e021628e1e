#include "plan.h"

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "codelets.h"
#include "radices.h"

namespace freqkit {
namespace {

struct Radix {
  int radix;
  double cost;
};
#define FREQKIT_ENTRY(R, COST) {R, COST},
constexpr Radix kRadices[] = {FREQKIT_EACH_RADIX(FREQKIT_ENTRY)};
#undef FREQKIT_ENTRY

struct Tuned {
  int first, second;
};
#define FREQKIT_ENTRY(FIRST, SECOND) {FIRST, SECOND},
constexpr Tuned kTuned[] = {FREQKIT_EACH_TUNED(FREQKIT_ENTRY)};
#undef FREQKIT_ENTRY

constexpr bool has_codelet(int radix) {
  for (const Radix& r : kRadices)
    if (r.radix == radix) return true;
  return false;
}

std::vector<int> cut(int length) {
  for (const Tuned& tuned : kTuned)
    if (tuned.first * tuned.second == length) return {tuned.first, tuned.second};
  std::vector<int> radices;
  int rest = length;
  for (int p = 2; p * p <= rest || rest > 1;) {  // direct passes for the primes without a codelet
    if (p * p > rest) p = rest;
    const int prime = p;
    if (!has_codelet(prime))
      while (rest % prime == 0) radices.push_back(prime), rest /= prime;
    else
      while (rest % prime == 0) rest /= prime;
    ++p;
  }
  int smooth = length;
  for (int r : radices) smooth /= r;
  // Cheapest product of codelet radices: best[n] over the divisors of n.
  std::map<int, std::pair<double, int>> best;  // n -> (cost per element, first radix)
  best[1] = {0, 0};
  std::vector<int> divisors;
  for (int d = 1; d <= smooth; ++d)
    if (smooth % d == 0) divisors.push_back(d);
  for (int d : divisors) {
    if (d == 1) continue;
    std::pair<double, int> choice{1e300, 0};
    for (const Radix& r : kRadices)
      if (d % r.radix == 0 && best.count(d / r.radix)) {
        double cost = r.cost / r.radix + best[d / r.radix].first + 2;
        if (cost < choice.first) choice = {cost, r.radix};
      }
    if (choice.second) best[d] = choice;
  }
  for (int n = smooth; n > 1; n /= best[n].second) radices.push_back(best[n].second);
  if (radices.empty()) radices.push_back(1);
  return radices;
}

template <class S>
struct OwnedPlan {
  Plan<S> plan{};
  std::vector<std::vector<S>> tables;
  std::vector<int> order, position;
};

template <class S>
std::unique_ptr<OwnedPlan<S>> build(int length) {
  auto owned = std::make_unique<OwnedPlan<S>>();
  Plan<S>& plan = owned->plan;
  const std::vector<int> radices = cut(length);
  plan.length = length;
  plan.passes = int(radices.size());
  if (plan.passes > kMaxPasses) std::abort();  // 2^32 elements per row
  int blocks = 1, rest = length;
  for (int i = 0; i < plan.passes; ++i) {
    const int radix = radices[i];
    rest /= radix;
    Pass<S>& pass = plan.pass[i];
    pass = {radix, rest, blocks, false, nullptr, nullptr};
    pass.codelet = radix == 1 || has_codelet(radix);
    std::vector<S> twiddles;
    if (i + 1 < plan.passes)
      for (int b = 0; b < rest; ++b)
        for (int k = 1; k < radix; ++k) {
          const Angle w = unit_root((long long)b * k, (long long)radix * rest);
          twiddles.push_back(S(w.cos)), twiddles.push_back(S(w.sin));
        }
    owned->tables.push_back(std::move(twiddles));
    pass.twiddles = owned->tables.back().data();
    if (!pass.codelet) {
      std::vector<S> roots;
      for (int j = 0; j < radix; ++j) {
        const Angle w = unit_root(j, radix);
        roots.push_back(S(w.cos)), roots.push_back(S(w.sin));
      }
      owned->tables.push_back(std::move(roots));
      pass.roots = owned->tables.back().data();
    }
    blocks *= radix;
  }
  // Block j = (k_1 k_2 ... ) in mixed radix, most significant first; output k_1 + R_1 k_2 + R_1 R_2 k_3 ...
  const int last_blocks = plan.pass[plan.passes - 1].blocks;
  owned->order.resize(last_blocks);
  for (int j = 0; j < last_blocks; ++j) {
    int remaining = j, below = last_blocks, weight = 1, position = 0;
    for (int i = 0; i + 1 < plan.passes; ++i) {
      below /= radices[i];
      position += weight * (remaining / below);
      remaining %= below;
      weight *= radices[i];
    }
    owned->order[j] = position;
  }
  plan.order = owned->order.data();
  const int inner = plan.pass[0].inner;
  plan.pitch = plan.passes > 1 ? inner + 1 : length;
  for (int i = 0; i < length; ++i) owned->position.push_back(plan.passes > 1 ? i / inner * plan.pitch + i % inner : i);
  plan.position = owned->position.data();
  return owned;
}

}  // namespace

template <class S>
const Plan<S>& plan_of(int length) {
  static std::mutex mutex;
  static auto* plans = new std::map<int, std::unique_ptr<OwnedPlan<S>>>;  // never freed: kernels may outlive main
  std::lock_guard<std::mutex> lock(mutex);
  auto& slot = (*plans)[length];
  if (!slot) slot = build<S>(length);
  return slot->plan;
}

template const Plan<float>& plan_of<float>(int);
template const Plan<double>& plan_of<double>(int);

}  // namespace freqkit

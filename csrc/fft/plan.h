// How a DFT of any length is cut into in-place passes over [length] lane vectors. Built once per length.
//
// Pass i has radix R_i and works on blocks of R_i * inner_i elements: element a * inner + b of a block goes through a
// DFT over a, is turned by exp(2 pi i b k / (R inner)) and written back at k * inner + b. The last pass has inner = 1,
// no twiddles, and writes element k of block j to order[j] + k * blocks. A prime factor without a codelet takes a
// direct pass with `roots`.
#pragma once

#include <cstdint>

namespace freqkit {

constexpr int kMaxPasses = 32;
constexpr int kMaxCodelet = 32;

template <class S>
struct Pass {
  int radix, inner, blocks;
  bool codelet;
  const S* twiddles;  // [inner][radix - 1][cos, sin]
  const S* roots;     // [radix][cos, sin] of exp(2 pi i j / radix); only where codelet is false
};

template <class S>
struct Plan {
  int length, passes;
  Pass<S> pass[kMaxPasses];
  const int* order;     // [blocks of the last pass]
  const int* position;  // [length]: where element i stands when the blocks of the first pass lie `pitch` apart
  int pitch;  // one more than pass[0].inner, so that a first pass does not walk a power of two; length if alone
  int extent() const { return passes > 1 ? pass[0].radix * pitch : length; }
};

// The plan of a length; built on first use, kept for the life of the process, safe from any thread.
template <class S>
const Plan<S>& plan_of(int length);

// The largest radix of any pass, for scratch.
template <class S>
int largest_radix(const Plan<S>& plan) {
  int most = 1;
  for (int i = 0; i < plan.passes; ++i) most = plan.pass[i].radix > most ? plan.pass[i].radix : most;
  return most;
}

}  // namespace freqkit

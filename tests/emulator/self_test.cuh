// Small kernels, right and wrong, that show what the emulator finds.
#pragma once

#include "../../csrc/common/dialect.h"

namespace freqkit::self_test {

enum class Fault : int { none, no_barrier, out_of_bounds, unwritten, divergent, deadlock, wrong_lane };

// out[block] = sum of a block's values, by a tree in shared memory and shuffles in the first warp.
__global__ void block_sum_kernel(const float* values, float* out, int n, Fault fault) {
  DYNAMIC_SHARED(float, partial);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  const bool skip = fault == Fault::unwritten && threadIdx.x == 3;
  if (!skip)
    store_shared(partial + threadIdx.x + (fault == Fault::out_of_bounds ? 1 : 0), load_const_if(i < n, values + i));
  if (fault == Fault::divergent && threadIdx.x >= blockDim.x / 2)
    __syncthreads();
  else if (fault != Fault::no_barrier)
    __syncthreads();
  if (fault == Fault::deadlock && threadIdx.x < 17) __syncwarp(0x3ffffu);  // lane 17 never comes
  for (int half = int(blockDim.x) / 2; half >= 32; half /= 2) {
    if (int(threadIdx.x) < half)
      store_shared(partial + threadIdx.x,
                   load_shared(partial + threadIdx.x) + load_shared(partial + threadIdx.x + half));
    if (fault != Fault::no_barrier) __syncthreads();
  }
  if (threadIdx.x >= 32) return;
  float sum = load_shared(partial + threadIdx.x);
  const unsigned lanes = fault == Fault::wrong_lane ? 0xffffu : 0xffffffffu;
  for (int delta = 16; delta > 0; delta /= 2) sum += __shfl_down_sync(lanes, sum, delta);
  if (threadIdx.x == 0) store_global(out + blockIdx.x, sum);
}

// Threads of a warp read shared words `stride` apart, then count themselves.
__global__ void counting_kernel(const float* in, float* out, int stride, int* votes) {
  DYNAMIC_SHARED(float, words);
  for (int i = int(threadIdx.x); i < 32 * stride; i += int(blockDim.x)) store_shared(words + i, load_const(in + i));
  __syncthreads();
  const float word = load_shared(words + threadIdx.x * stride);
  store_global(out + threadIdx.x, word);
  const unsigned ballot = __ballot_sync(0xffffffffu, word > 0.0f);
  if (ballot >> threadIdx.x & 1) atomicAdd(votes, 1);
}

}  // namespace freqkit::self_test

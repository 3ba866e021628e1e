// Which radices have a codelet and which lengths a measured cut: the one list. Plans choose from it and switches over
// radices are expanded from it, so that a radix is known to all of them or to none; what a switch has no case for
// traps.
#pragma once

namespace freqkit {

// On the CPU: DO(radix, cost), the measured cost in vector operations for one butterfly (loads and stores included).
// The small ones may also be a first pass that multiplies by the mask on its way in.
// clang-format off
#define FREQKIT_EACH_SMALL_RADIX(DO)                                                   \
  DO(2, 9) DO(3, 20) DO(4, 28) DO(5, 48) DO(6, 58) DO(7, 84) DO(8, 78) DO(9, 120)      \
  DO(10, 125) DO(11, 190) DO(12, 140) DO(13, 260) DO(14, 210) DO(15, 220) DO(16, 200)
#define FREQKIT_EACH_RADIX(DO)                                                         \
  FREQKIT_EACH_SMALL_RADIX(DO)                                                         \
  DO(17, 430) DO(18, 310) DO(19, 540) DO(20, 320) DO(23, 790) DO(24, 380) DO(32, 560)
// clang-format on

// DO(first, second): lengths first * second whose best cut was measured and differs from what the costs say. Their
// first passes have strides that are known to the compiler.
#define FREQKIT_EACH_TUNED(DO) \
  DO(4, 8) DO(6, 8) DO(4, 16) DO(8, 12) DO(16, 8) DO(14, 16) DO(16, 16) DO(18, 16) DO(20, 16) DO(24, 16)

// On CUDA, largest first: DO(radix). In double the large ones would not fit the registers.
#define FREQKIT_EACH_LARGE_DEVICE_RADIX(DO) DO(16) DO(14) DO(12) DO(9)
#define FREQKIT_EACH_SMALL_DEVICE_RADIX(DO) DO(8) DO(7) DO(5) DO(4) DO(3) DO(2)

}  // namespace freqkit

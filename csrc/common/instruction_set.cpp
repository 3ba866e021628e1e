#include "instruction_set.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace freqkit {
namespace {

InstructionSet choose() {
  const char* wanted = std::getenv("FREQKIT_SIMD");
  const std::string level = wanted ? wanted : "";
#ifdef FREQKIT_HAS_X86
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (level == "avx512" || (level.empty() && has_avx512)) {
    if (!has_avx512) throw std::runtime_error("FREQKIT_SIMD=avx512: this processor has no AVX-512");
    return InstructionSet::kAvx512;
  }
  if (level == "avx2" || (level.empty() && has_avx2)) {
    if (!has_avx2) throw std::runtime_error("FREQKIT_SIMD=avx2: this processor has no AVX2");
    return InstructionSet::kAvx2;
  }
#endif
  if (!level.empty() && level != "baseline")
    throw std::runtime_error(
        "FREQKIT_SIMD must be one of the levels built into this library (baseline, and avx2 or avx512 on x86); got " +
        level);
  return InstructionSet::kBaseline;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet level = choose();
  return level;
}

}  // namespace freqkit

// Which of the compiled instruction sets the CPU kernels run with. No torch.
#pragma once

namespace freqkit {

enum class InstructionSet : int { kBaseline, kAvx2, kAvx512 };

// The best one that this processor has, or the one that FREQKIT_SIMD names (for tests and benchmarks), decided once.
// Throws std::runtime_error when FREQKIT_SIMD names one that is not built or that the processor lacks.
InstructionSet instruction_set();

}  // namespace freqkit

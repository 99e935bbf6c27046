// The inner loops of measure.cc, each for the best instruction set of this processor; bench_kernels' roofs too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace exo::cluster {

/// Reads [data, data + bytes) once as several streams side by side, as a decode kernel reads its panels; `bytes` is a multiple
/// of 16 KiB. Returns a number that depends on every byte.
uint64_t readOnce(const std::byte* data, size_t bytes);

/// An arithmetic loop and what one iteration of it does.
struct ArithmeticLoop {
  void (*run)(int64_t iterations, void* result);  // `result`: 64 bytes, so that nothing is optimised away
  double operations_per_iteration;
  const char* method;
};
/// `method`: that one, if the processor has it; otherwise, and if empty, the best it has.
ArithmeticLoop int8Loop(std::string_view method = {});
ArithmeticLoop f32Loop();

}  // namespace exo::cluster
